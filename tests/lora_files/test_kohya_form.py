from types import SimpleNamespace

import pytest
import torch

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.console.errors import UserError
from lorakiln.families.sd.clients import client_keys
from lorakiln.lora_files import kohya_form
from lorakiln.lora_files.casting import cast_adapter
from tests.lora_files.conftest import ALPHAS, RANKS, predict, predict_merged, random_adapter

MID = "lora_unet_mid_block_attentions_0"


def save(adapter, path, family, dtype=torch.float32):
    kohya_form.save(cast_adapter(adapter, dtype, path).adapter, path, family, {"ss_output_name": "x"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_keys_shapes_and_dtypes(tmp_path, micro_family, adapter, dtype):
    save(adapter, tmp_path / "x.safetensors", micro_family, dtype)
    tensors, metadata = load_tensors(tmp_path / "x.safetensors")
    names = {"lora_unet_" + name.removeprefix("unet.").replace(".", "_") for name in adapter.layers}
    ends = ("lora_down.weight", "lora_up.weight", "alpha")
    assert set(tensors) == {f"{name}.{end}" for name in names for end in ends}
    assert {tensor.dtype for tensor in tensors.values()} == {dtype}
    shapes = {end: tuple(tensors[f"{MID}_proj_in.{end}"].shape) for end in ends}
    assert shapes == {"lora_down.weight": (4, 32, 1, 1), "lora_up.weight": (32, 4, 1, 1), "alpha": ()}
    assert tensors[f"{MID}_transformer_blocks_0_attn1_to_q.lora_down.weight"].shape == (4, 32)
    assert all(tensor == 2.0 for key, tensor in tensors.items() if key.endswith(".alpha"))
    assert metadata == {"ss_output_name": "x"}


def test_stable_diffusion_1_has_the_names_that_kohya_gives_it(tmp_path, micro_family):
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from lorakiln.families.sd.presets import PRESETS

    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=768)
        text = CLIPTextModel(CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_attention_heads=12))
    sd1 = SimpleNamespace(network=unet, text_encoder=text, kohya_name=micro_family.kohya_name)
    modules = [f"unet.{name}" for name in PRESETS["kohya"](unet)]
    ends = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
    modules += [f"text_encoder.{name}" for name, _ in text.named_modules() if name.endswith(ends)]
    one = Layer(torch.ones(1, 1), torch.ones(1, 1), 1.0)
    save(Adapter(dict.fromkeys(modules, one)), tmp_path / "x.safetensors", sd1)
    names = {key.split(".")[0] for key in load_tensors(tmp_path / "x.safetensors")[0]}
    assert len([name for name in names if name.startswith("lora_unet_")]) == 192
    assert len([name for name in names if name.startswith("lora_te_")]) == 72
    block = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0"
    assert {
        f"{block}_attn1_to_q",
        f"{block}_attn1_to_out_0",
        f"{block}_attn2_to_k",
        f"{block}_ff_net_0_proj",
        f"{block}_ff_net_2",
        "lora_unet_down_blocks_0_attentions_0_proj_in",
        "lora_unet_mid_block_attentions_0_proj_out",
        "lora_unet_up_blocks_3_attentions_2_transformer_blocks_0_attn2_to_v",
        "lora_te_text_model_encoder_layers_0_self_attn_q_proj",
        "lora_te_text_model_encoder_layers_11_mlp_fc2",
    } <= names
    found = {client: set(keys) & names for client, keys in client_keys(unet, {"text_encoder": text}, False).items()}
    assert found == dict.fromkeys(("kohya", "A1111", "ComfyUI"), names)


def test_what_is_saved_is_loaded_exactly(tmp_path, micro_family):
    adapter = random_adapter(micro_family, RANKS, ALPHAS)
    save(adapter, tmp_path / "x.safetensors", micro_family)
    found = kohya_form.load(tmp_path / "x.safetensors", micro_family).layers
    assert set(found) == set(adapter.layers)
    for name, layer in adapter.layers.items():
        assert torch.equal(found[name].down, layer.down)
        assert torch.equal(found[name].up, layer.up)
        assert found[name].alpha == layer.alpha


@pytest.mark.parametrize("ranks", [(4,), RANKS])
def test_diffusers_predicts_with_the_file_what_the_adapter_does(tmp_path, family, ranks):
    # One alpha for all: diffusers 0.42 loses alphas that differ between attentions when it reads kohya's names.
    adapter = random_adapter(family, ranks)
    expected, base = predict_merged(family, adapter), predict(family.network)
    save(adapter, tmp_path / "x.safetensors", family)
    pipe = family.pipeline()
    pipe.load_lora_weights(tmp_path, weight_name="x.safetensors")
    torch.testing.assert_close(predict(pipe.unet), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, base, atol=1e-2)


def altered(path, family, adapter, change):
    save(adapter, path, family)
    tensors, _ = load_tensors(path)
    tensors = {key: tensor.clone() for key, tensor in tensors.items()}
    change(tensors)
    save_tensors(path, tensors)
    return path


def test_without_an_alpha_it_is_the_rank(tmp_path, micro_family, adapter):
    def change(tensors):
        for key in [key for key in tensors if key.endswith(".alpha")]:
            del tensors[key]

    path = altered(tmp_path / "x.safetensors", micro_family, adapter, change)
    assert {layer.alpha for layer in kohya_form.load(path, micro_family).layers.values()} == {4.0}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("lora_unet_elsewhere.lora_down.weight", 1.0, "1 of its .* tensors .* lora_unet_elsewhere.lora_down.weight"),
        (f"{MID}_proj_in.dora_scale", 1.0, f"{MID}_proj_in.dora_scale"),
        (f"{MID}_proj_in.lora_up.weight", float("nan"), "not finite"),
        (f"{MID}_proj_in.lora_down.weight", float("inf"), "not finite"),
        (f"{MID}_proj_in.alpha", float("nan"), "no low-rank update"),
    ],
)
def test_what_is_no_sound_lora_of_this_model_is_refused(tmp_path, micro_family, adapter, key, value, message):
    def change(tensors):
        tensors[key] = torch.full_like(tensors.get(key, torch.ones(2)), value)

    path = altered(tmp_path / "x.safetensors", micro_family, adapter, change)
    with pytest.raises(UserError, match=message):
        kohya_form.load(path, micro_family)


def test_half_of_a_layer_is_refused(tmp_path, micro_family, adapter):
    path = altered(tmp_path / "x.safetensors", micro_family, adapter, lambda t: t.pop(f"{MID}_proj_in.lora_up.weight"))
    with pytest.raises(UserError, match="2 of its"):
        kohya_form.load(path, micro_family)
