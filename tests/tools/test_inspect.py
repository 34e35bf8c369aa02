"""The settings that `lorakiln inspect` gives to go on with, as Hydra and a shell read them."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from hydra.core.override_parser.overrides_parser import OverridesParser

from lorakiln.adapters.adapter import Adapter, Embedding, Layer
from lorakiln.adapters.targets import list_target_names
from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.cli import main
from lorakiln.console.errors import UserError
from lorakiln.families import load_family
from lorakiln.families.sd import kohya_name
from lorakiln.families.sd.presets import ATTENTION as ATTENTION_KINDS
from lorakiln.families.sd.presets import PRESETS as FAMILY_PRESETS
from lorakiln.families.sd.target_names import PRESETS, find_kind
from lorakiln.lora_files.writing import write_lora
from lorakiln.schema.adapters.lora import LoraSettings
from lorakiln.schema.whole_config import check_whole
from lorakiln.tools.inspect import suggest_settings
from lorakiln.train.adapter_placement import inject_adapter, inject_adapters, list_placements
from pipelines.compose import compose_config

ATTENTION = "unet.mid_block.attentions.0.transformer_blocks.0"


def adapter(width, metadata, module="attn2.to_k"):
    return Adapter({f"{ATTENTION}.{module}": Layer(torch.ones(2, width), torch.ones(8, 2), 1.0)}, metadata)


@pytest.mark.parametrize(
    ("width", "metadata", "module", "expected"),
    [
        (768, {}, "attn2.to_k", "sd15"),
        (1024, {}, "attn2.to_k", "sd21"),
        (1024, {"ss_base_model_version": "sd_v2"}, "attn2.to_k", "sd21"),
        (1024, {"ss_base_model_version": "sd_v2_v"}, "attn2.to_k", "sd21_v"),
        (1024, {"modelspec.prediction_type": "v"}, "attn2.to_k", "sd21_v"),
        (2048, {}, "attn2.to_k", "sdxl"),
        # The shapes say nothing, or another thing than the metadata.
        (640, {"ss_base_model_version": "sdxl_base_v1-0"}, "attn1.to_k", "sdxl"),
        (640, {"ss_base_model_version": "sd_v2_v"}, "attn1.to_k", "sd21_v"),
        (768, {"ss_base_model_version": "sd_v2_v"}, "attn2.to_k", "sd15"),
        (24, {"ss_base_model_version": "sd_v1"}, "attn2.to_k", None),
        (640, {}, "attn1.to_k", None),
    ],
)
def test_the_model_to_go_on_with(width, metadata, module, expected):
    settings = suggest_settings(Path("a.safetensors"), adapter(width, metadata, module))
    found = [one.removeprefix("model=") for one in settings if one.startswith("model=")]
    assert found == ([expected] if expected else [])


@pytest.mark.parametrize(
    "path",
    [
        "plain/style-v1.safetensors",
        "my loras/a (1), b[2].safetensors",
        "it's.safetensors",
        'a"b.safetensors',
        "a=b{c}.safetensors",
        "\u732b.safetensors",
        "back\\slash.safetensors",
        'both\\"',
        "end\\",
        "$HOME/#1",
    ],
)
def test_paths_survive_the_shell_and_hydra(path):
    settings = suggest_settings(Path(path), adapter(768, {"ss_unet_lr": "0.0001"}))
    words = shlex.split(" ".join(settings))
    assert len(words) == len(settings)
    found = {one.key_or_group: one.value() for one in OverridesParser.create().parse_overrides(words)}
    assert found["train.adapter.init_from"] == path and found["train.optimizer.lr"] == 0.0001


TEXT = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
GEGLU = [*ATTENTION_KINDS, "ff.net.0.proj"]
# name -> (endings of the UNet's modules that are adapted, what the printed targets are)
KINDS = {
    "attention": (ATTENTION_KINDS, "attention"),
    "with_geglu": (GEGLU, f"[{','.join(sorted(GEGLU))}]"),
    "kohya": (None, "kohya"),
    "queries": (["attn1.to_q"], "[attn1.to_q]"),
}


def layers_on(family, endings, where=""):
    names = (
        family.target_modules("kohya")
        if endings is None
        else [
            name
            for name, module in family.network.named_modules()
            if name.endswith(tuple(endings)) and name.startswith(where) and hasattr(module, "weight")
        ]
    )
    shapes = {name: family.network.get_submodule(name).weight.shape for name in names}
    return {
        f"unet.{name}": Layer(torch.randn(3, *shape[1:]), torch.randn(shape[0], 3, *(1,) * (len(shape) - 2)), 1.5)
        for name, shape in shapes.items()
    }


def follow(file, capsys, tmp_path, base=None):
    """Run what inspect prints until it prints settings; what they make of a fresh network, and the file used."""
    for _ in range(2):
        assert main(["inspect", str(file), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)["retrain"]
        if not told[0].startswith("lorakiln "):
            return told, file
        words = [str(base) if word == "BASE" else word for word in shlex.split(told[0])]
        file = tmp_path / "made" / "lora.safetensors"
        assert main([str(file) if word == "lora.safetensors" else word for word in words[1:]]) == 0
        capsys.readouterr()
    raise AssertionError(f"inspect asks for a second file: {told}")


def go_on(family, told):
    """Training's own way from the printed settings to an adapter on the network."""
    settings = check_whole(compose_config(["+experiment=smoke", *shlex.split(" ".join(told))])).train
    return inject_adapters(family, list_placements(family, settings), 0).read().layers


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_training_takes_what_is_printed(tmp_path, capsys, micro_model, kind, text):
    endings, targets = KINDS[kind]
    family = load_family(micro_model, ("text", "network"))
    layers = layers_on(family, endings)
    layers |= {TEXT: Layer(torch.ones(3, 24), torch.ones(24, 3), 1.0)} if text else {}
    write_lora(Adapter(layers), tmp_path / "x.safetensors", "kohya")
    told, used = follow(tmp_path / "x.safetensors", capsys, tmp_path)
    assert used.name == "x.safetensors"
    assert ("train.parts=[unet,text_encoder]" in shlex.split(" ".join(told))) == text
    assert f"train.adapter.targets={targets}" in shlex.split(" ".join(told)) and "train.adapter.alpha=1.5" in told
    found = go_on(family, told)
    # Of the text encoder, what is not in the file begins fresh.
    assert {name for name in found if not name.startswith("text_encoder.") or found[name].up.any()} == set(layers)
    for name, layer in layers.items():
        torch.testing.assert_close(found[name].delta(), layer.delta(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"ss_clip_skip": "2", "ss_text_encoder_lr": "5e-5"}, ["train.text_encoders.lr=5e-5", "encode.clip_skip=2"]),
        ({"ss_clip_skip": "None", "ss_text_encoder_lr": "[1e-5, 2e-5]"}, []),
        ({"ss_clip_skip": "1; ls"}, []),
        ({"ss_clip_skip": "1"}, []),
    ],
)
def test_the_encoders_rate_the_layer_and_the_words_are_told_too(tmp_path, capsys, micro_model, metadata, told):
    family = load_family(micro_model, ("text", "network"))
    layers = layers_on(family, ATTENTION_KINDS) | {TEXT: Layer(torch.ones(3, 24), torch.ones(24, 3), 1.0)}
    words = {"kiln": Embedding("kiln", {"text_encoder": torch.randn(2, 24)})}
    write_lora(Adapter(layers, metadata, embeddings=words), tmp_path / "x.safetensors", "kohya")
    found, _ = follow(tmp_path / "x.safetensors", capsys, tmp_path)
    settings = shlex.split(" ".join(found))
    assert [one for one in settings if one.startswith(("encode.", "train.text_encoders.lr"))] == told
    assert "+train.tokens={kiln: {vectors: 2}}" in settings
    config = check_whole(compose_config(["+experiment=smoke", *settings]))
    assert config.encode.clip_skip == (2 if told else 1) and config.train.tokens["kiln"].vectors == 2


def test_the_rates_of_sdxls_two_encoders_are_told(tmp_path):
    layer = Layer(torch.ones(2, 24), torch.ones(24, 2), 2.0)
    names = [f"text_encoder{end}.text_model.encoder.layers.0.self_attn.q_proj" for end in ("", "_2")]
    unet = {
        "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k": Layer(torch.ones(2, 64), torch.ones(8, 2), 2.0)
    }
    rates = {"ss_text_encoder_lr": "[1e-05, 2e-05]", "ss_base_model_version": "sdxl_base_v1-0"}
    told = suggest_settings(tmp_path / "x.safetensors", Adapter(unet | dict.fromkeys(names, layer), rates))
    assert [one for one in told if ".lr=" in one] == [
        "+train.text_encoders.own.text_encoder.lr=1e-05",
        "+train.text_encoders.own.text_encoder_2.lr=2e-05",
    ]


def test_layers_of_some_blocks_alone_and_of_many_ranks(tmp_path, capsys, micro_model):
    family = load_family(micro_model, ("network",))
    layers = layers_on(family, ["attn2.to_k", "conv1"], "up_blocks.1")
    first = min(layers)
    small = layers[first]
    layers[first] = Layer(small.down[:2], small.up[:, :2], 1.0)
    write_lora(Adapter(layers), tmp_path / "x.safetensors", "kohya")
    told, _ = follow(tmp_path / "x.safetensors", capsys, tmp_path)
    found = go_on(family, told)
    assert set(found) == set(layers) and {layer.rank for layer in found.values()} == {3}
    for name, layer in layers.items():
        torch.testing.assert_close(found[name].delta(), layer.delta(), rtol=1e-4, atol=1e-4)


def test_what_is_printed_for_layers_that_depend_on_the_base_is_taken(tmp_path, capsys, micro_model):
    family = load_family(micro_model, ("text", "network"))
    layers = layers_on(family, ["attn1.to_q"])
    tensors = {}
    for name, layer in (layers | {TEXT: Layer(torch.ones(3, 24), torch.ones(24, 3), 1.0)}).items():
        key = kohya_name(name)
        tensors |= {f"{key}.lora_down.weight": layer.down, f"{key}.lora_up.weight": layer.up}
        tensors[f"{key}.dora_scale"] = torch.ones(layer.shape[0], 1)
    save_tensors(tmp_path / "x.safetensors", tensors)
    told, _ = follow(tmp_path / "x.safetensors", capsys, tmp_path, micro_model.path)
    found = go_on(family, told)
    assert {name for name in found if not name.startswith("text_encoder.") or found[name].up.any()} == {*layers, TEXT}


def test_a_text_encoders_layers_alone_are_nothing_to_go_on_from(tmp_path, capsys):
    write_lora(Adapter({TEXT: Layer(torch.ones(3, 24), torch.ones(24, 3), 1.0)}), tmp_path / "x.safetensors", "kohya")
    assert main(["inspect", str(tmp_path / "x.safetensors")]) == 0
    assert "no settings to go on with: it has no layer of the network that draws" in capsys.readouterr().out


@pytest.mark.parametrize(("preset", "known"), PRESETS.items())
def test_the_presets_are_those_of_training(preset, known):
    with torch.device("meta"):
        network = UNet2DConditionModel(cross_attention_dim=768)
    assert {find_kind(name) for name in FAMILY_PRESETS[preset](network)} == known


def test_refusals_print_commands_that_work(tmp_path, capsys, micro_model):
    family = load_family(micro_model, ("network",))
    layers = layers_on(family, ["attn1.to_q"])
    text = {TEXT: Layer(torch.ones(3, 24), torch.ones(24, 3), 1.0)}
    for given, rank in ((layers | text, 3), (layers, 2)):
        write_lora(Adapter(given), tmp_path / "my x.safetensors", "kohya")
        settings = LoraSettings(rank=rank, alpha=1.0, targets=["to_q"], init_from=str(tmp_path / "my x.safetensors"))
        names = list_target_names(family, ["attn1.to_q"])
        with pytest.raises(UserError) as caught:
            inject_adapter(load_family(micro_model, ("network",)), settings, names, 0)
        (command,) = re.findall("`(lorakiln .*?)`", caught.value.fix)
        out = tmp_path / f"{rank}.safetensors"
        words = shlex.split(command)[1:]
        assert main([str(out) if word == "lora.safetensors" else word for word in words]) == 0
        inject_adapter(
            load_family(micro_model, ("network",)), settings.model_copy(update={"init_from": str(out)}), names, 0
        )
    settings = LoraSettings(rank=3, alpha=1.0, targets=["to_k"], init_from=str(tmp_path / "my x.safetensors"))
    with pytest.raises(UserError) as caught:
        inject_adapter(load_family(micro_model, ("network",)), settings, list_target_names(family, ["attn1.to_k"]), 0)
    (command,) = re.findall("`(lorakiln .*?)`", caught.value.fix)
    assert main(shlex.split(command)[1:]) == 0
    assert "train.adapter.targets=[attn1.to_q]" in capsys.readouterr().out.replace("'", "")
