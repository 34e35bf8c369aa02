"""Which base model a LoRA is for, and that no form loses it on the way."""

import json

import pytest
import torch

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.cli import main
from lorakiln.lora_files.base_model import find_base_version
from lorakiln.lora_files.reading import read_lora
from lorakiln.lora_files.writing import write_lora
from lorakiln.tools.merge_loras import merge_loras
from lorakiln.tools.rank_reduction import Cut
from lorakiln.tools.resize import resize_lora

SELF = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
OURS = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
CROSS = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"
SGM_CROSS = SELF.replace("attn1_to_q", "attn2_to_k")
SGM_HIGH = SELF.replace("input_blocks_4", "input_blocks_1")
TE, TE1, TE2 = (f"lora_te{number}_text_model_encoder_layers_0_self_attn_q_proj" for number in ("", 1, 2))
XL = {"ss_base_model_version": "sdxl_base_v1-0"}


def write(path, layers, metadata=None):
    """A kohya file; `layers`: the width of what each one reads by its name."""
    tensors = {}
    for name, width in layers.items():
        tensors[f"{name}.lora_down.weight"] = torch.ones(2, width)
        tensors[f"{name}.lora_up.weight"] = torch.ones(8, 2)
    save_tensors(path, tensors, metadata)
    return path


def names(path):
    return {key.split(".")[0] for key in load_tensors(path)[0]}


@pytest.mark.parametrize("form", ["kohya", "diffusers", "peft"])
@pytest.mark.parametrize(
    ("layers", "metadata"),
    [
        ({SELF: 640}, XL),
        ({SELF: 640}, {}),
        ({TE1: 768}, XL),
        ({TE1: 768}, {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}),
        ({TE1: 768}, {}),
        ({SELF.replace("blocks_0_attn1", "blocks_1_attn1"): 640}, {}),
        ({TE2: 1280}, {}),
    ],
)
def test_sdxls_names_survive_the_way_through_every_form(tmp_path, layers, metadata, form):
    path = write(tmp_path / "x.safetensors", layers, metadata)
    there = tmp_path / ("there" if form == "peft" else "there.safetensors")
    write_lora(read_lora(path).adapter, there, form)
    write_lora(read_lora(there).adapter, tmp_path / "back.safetensors", "kohya")
    assert names(tmp_path / "back.safetensors") == set(layers)


@pytest.mark.parametrize(
    ("layers", "metadata", "expected"),
    [
        ({OURS: 640}, {}, "unknown"),
        ({OURS: 640}, XL, "sdxl"),
        ({OURS: 640}, {"ss_base_model_version": "sd_v2_v"}, "sd_v2"),
        ({OURS.replace("blocks_0_attn1", "blocks_1_attn1"): 640}, {}, "sdxl"),
        ({CROSS: 2048}, {}, "sdxl"),
        ({CROSS: 1024}, {}, "sd_v2"),
        # diffusers' converter names Stable Diffusion 1.5's text encoder as SDXL's first.
        ({CROSS: 768, TE1: 768}, {}, "sd_v1"),
        ({TE: 1024}, {}, "sd_v2"),
        ({TE: 768}, {}, "sd_v1"),
        # Stability's names are those of all three.
        ({SELF: 640}, {}, "sdxl"),
        ({SGM_CROSS: 768}, {}, "sd_v1"),
        ({SGM_CROSS: 1024, SELF: 640}, {}, "sd_v2"),
        ({SGM_CROSS: 768}, XL, "sd_v1"),
        ({SELF: 640}, {"ss_base_model_version": "sd_v1"}, "sd_v1"),
        # SDXL has no attention at the highest resolution.
        ({SGM_HIGH: 320}, {}, "unknown"),
        ({SGM_HIGH: 320}, XL, "unknown"),
        ({SGM_HIGH: 320, TE: 768}, {}, "sd_v1"),
    ],
)
def test_the_base_is_told_by_shapes_then_metadata_then_names(tmp_path, layers, metadata, expected):
    found = read_lora(write(tmp_path / "x.safetensors", layers, metadata)).adapter
    assert find_base_version(found) == expected


@pytest.mark.parametrize(
    ("metadata", "said"), [({}, None), (XL, "sd_v1"), ({"ss_base_model_version": "sd_v1"}, "sd_v1")]
)
def test_stable_diffusion_1_in_stabilitys_names_stays_what_it_is(tmp_path, metadata, said):
    architecture = {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"} if metadata == XL else {}
    path = write(tmp_path / "x.safetensors", {SGM_CROSS: 768, SELF: 640}, metadata | architecture)
    out = tmp_path / "out.safetensors"
    assert main(["convert", str(path), str(out)]) == 0
    tensors, told = load_tensors(out)
    assert {key.split(".")[0] for key in tensors} == {CROSS, OURS}
    assert told.get("ss_base_model_version") == said
    assert told.get("modelspec.architecture") == ("stable-diffusion-v1/lora" if architecture else None)
    assert main(["merge", str(path), str(path), "--out", str(tmp_path / "two.safetensors")]) == 0
    assert load_tensors(tmp_path / "two.safetensors")[1]["ss_base_model_version"] == "sd_v1"


def test_inspect_says_what_the_shapes_say(tmp_path, capsys):
    path = write(tmp_path / "x.safetensors", {SGM_CROSS: 768, SELF: 640}, XL)
    assert main(["inspect", str(path)]) == 0
    said = capsys.readouterr().out
    assert "  base        sd_v1 (its metadata says sdxl_base_v1-0)" in said and "model=sd15" in said
    path = write(tmp_path / "y.safetensors", {SELF: 640}, XL)
    assert main(["inspect", str(path)]) == 0
    assert "  base        sdxl_base_v1-0\n" in capsys.readouterr().out


def test_resized_and_merged_loras_are_for_the_same_base(tmp_path):
    found = read_lora(write(tmp_path / "x.safetensors", {SELF: 640})).adapter
    assert find_base_version(resize_lora(found, Cut(1))[0]) == "sdxl"
    other = Adapter({"unet.mid_block.attentions.0.proj_in": Layer(torch.ones(1, 8), torch.ones(8, 1), 1.0)})
    assert find_base_version(merge_loras([(other, 1.0), (found, 1.0)])) == "sdxl"


def test_a_peft_folder_says_whose_layers_it_holds(tmp_path):
    write_lora(read_lora(write(tmp_path / "x.safetensors", {TE2: 1280})).adapter, tmp_path / "peft", "peft")
    config = json.loads((tmp_path / "peft/adapter_config.json").read_text("utf-8"))
    assert config["auto_mapping"]["base_model_class"] == "CLIPTextModelWithProjection"
    # Without it, as in folders that were written before, the layers can only be taken for the first encoder's.
    del config["auto_mapping"]
    (tmp_path / "peft/adapter_config.json").write_text(json.dumps(config), "utf-8")
    assert {name.split(".")[0] for name in read_lora(tmp_path / "peft").adapter.layers} == {"text_encoder"}
