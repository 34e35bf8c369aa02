"""What LoRAs that the tools make say of themselves."""

import json

import pytest
import torch
from safetensors import safe_open

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.cli import main
from lorakiln.lora_files.writing import write_lora
from lorakiln.tools.metadata import find_resolution, make_metadata, make_rank_keys
from tests.families.reduced import write_reduced
from tests.lora_files.conftest import random_adapter


def metadata_of(file):
    with safe_open(file, "pt") as found:
        return found.metadata()


def layer(width, rank=2, kernel=None):
    side = () if kernel is None else (kernel, kernel)
    up = (8, rank, *(1 for _ in side))
    return Layer(torch.ones(rank, width, *side), torch.ones(up), float(rank))


CROSS = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
RESNET = "unet.mid_block.resnets.0.conv1"


@pytest.mark.parametrize(
    ("width", "version", "v2", "architecture", "resolution"),
    [
        (768, "sd_v1", "False", "stable-diffusion-v1/lora", "512x512"),
        (1024, "sd_v2", "True", "stable-diffusion-v2-512/lora", "512x512"),
        (2048, "sdxl_base_v1-0", "False", "stable-diffusion-xl-v1-base/lora", "1024x1024"),
    ],
)
def test_the_layers_say_what_base_it_is_for(width, version, v2, architecture, resolution):
    found = make_metadata(Adapter({CROSS: layer(width)}), "mine")
    assert found["ss_base_model_version"] == version and found["ss_v2"] == v2
    assert found["modelspec.architecture"] == architecture and found["modelspec.title"] == "mine"
    assert found["modelspec.prediction_type"] == "epsilon" and found["ss_network_module"] == "networks.lora"
    assert "ss_network_args" not in found and found["modelspec.resolution"] == resolution


def test_what_nobody_knows_is_not_claimed():
    found = make_metadata(Adapter({CROSS: layer(24)}), "mine")
    assert not {"ss_base_model_version", "ss_v2", "modelspec.architecture", "modelspec.resolution"} & set(found)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, ""),
        ({"ss_resolution": "None"}, ""),
        ({"modelspec.resolution": "any"}, ""),
        ({"ss_resolution": "(768, 512)"}, "768x512"),
        ({"ss_resolution": "640,512", "modelspec.resolution": "1024X768"}, "1024x768"),
    ],
)
def test_the_resolution_that_files_state(said, expected):
    assert find_resolution({}, said, {"ss_resolution": "(9, 9)"} if expected else {}) == expected
    if expected:
        assert (
            make_metadata(Adapter({CROSS: layer(768)}), "mine", resolution=expected)["modelspec.resolution"] == expected
        )


def test_convolutions_have_sizes_of_their_own():
    layers = {
        CROSS: layer(768, 4),
        RESNET: layer(16, 3, kernel=3),
        "unet.mid_block.attentions.0.proj_in": layer(9, 5, 1),
    }
    found = make_rank_keys(layers, '{"algo": "lora"}')
    assert found["ss_network_dim"] == "5" and found["ss_network_alpha"] == "5.0"
    assert json.loads(found["ss_network_args"]) == {"algo": "lora", "conv_dim": "3", "conv_alpha": "3.0"}


def test_merging_keeps_what_the_files_say(tmp_path, micro_family):
    said = {
        "ss_base_model_version": "sd_v2_v",
        "modelspec.prediction_type": "v",
        "ss_output_name": "a",
        "ss_resolution": "(640, 512)",
    }
    adapter = random_adapter(micro_family)
    write_lora(adapter, tmp_path / "silent.safetensors", "kohya")
    write_lora(Adapter(adapter.layers, said), tmp_path / "telling.safetensors", "kohya")
    out = tmp_path / "both.safetensors"
    files = [str(tmp_path / name) for name in ("silent.safetensors", "telling.safetensors")]
    assert main(["merge", *files, "--out", str(out)]) == 0
    found = metadata_of(out)
    expected = {
        "ss_base_model_version": "sd_v2_v",
        "ss_v2": "True",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "8",
        "ss_network_alpha": "8.0",
        "ss_output_name": "both",
        "modelspec.title": "both",
        "modelspec.architecture": "stable-diffusion-v2-768-v/lora",
        "modelspec.implementation": "diffusers",
        "modelspec.prediction_type": "v",
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.resolution": "640x512",
    }
    hashes = {"sshs_model_hash", "sshs_legacy_hash", "modelspec.hash_sha256"}
    assert {key: value for key, value in found.items() if key not in hashes} == expected
    assert hashes <= set(found)


@pytest.mark.parametrize(
    ("kind", "version", "prediction"), [("sd21_v", "sd_v2_v", "v"), ("sdxl", "sdxl_base_v1-0", "epsilon")]
)
def test_an_extracted_lora_knows_its_base(tmp_path, kind, version, prediction):
    base, tuned = (write_reduced(tmp_path / str(seed), kind, seed) for seed in (0, 1))
    for source in (base, tmp_path / "base.safetensors"):
        if source != base:
            assert main(["convert", str(base), str(source)]) == 0
        out = tmp_path / f"{source.stem}-found.safetensors"
        assert main(["extract", str(source), str(tuned), str(out), "--rank", "2", "--config", str(base)]) == 0
        found = metadata_of(out)
        assert found["ss_base_model_version"] == version and found["modelspec.prediction_type"] == prediction
        assert found["modelspec.resolution"] == ("768x768" if kind == "sd21_v" else "1024x1024")
        assert found["ss_v2"] == str(kind == "sd21_v") and found["ss_network_dim"] == "2"
        assert json.loads(found["ss_network_args"]) == {"conv_dim": "2", "conv_alpha": "2.0"}
        assert found["modelspec.architecture"].endswith("/lora") and found["modelspec.title"] == out.stem
