"""The settings that `lorakiln inspect` gives to go on with, as Hydra and a shell read them."""

import shlex
from pathlib import Path

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser

from lorakiln.lora_files.adapter import Adapter, Layer
from lorakiln.tools.inspect import retrain

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
    settings = retrain(Path("a.safetensors"), adapter(width, metadata, module))
    found = [one.removeprefix("model=") for one in settings if one.startswith("model=")]
    assert found == ([expected] if expected else [])


@pytest.mark.parametrize(
    "path",
    [
        "plain/style-v1.safetensors", "my loras/a (1), b[2].safetensors", "it's.safetensors", 'a"b.safetensors',
        "a=b{c}.safetensors", "\u732b.safetensors", "back\\slash.safetensors", 'both\\"', "end\\", "$HOME/#1",
    ],
)  # fmt: skip
def test_paths_survive_the_shell_and_hydra(path):
    settings = retrain(Path(path), adapter(768, {"ss_unet_lr": "0.0001"}))
    words = shlex.split(" ".join(settings))
    assert len(words) == len(settings)
    found = {one.key_or_group: one.value() for one in OverridesParser.create().parse_overrides(words)}
    assert found["train.adapter.init_from"] == path and found["train.optimizer.lr"] == 0.0001
