"""Alphas by the config in a file, which anyone may have written."""

import json
import time

import pytest
import torch

from lorakiln.adapters.peft_config import find_alpha, read_config
from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.console.errors import UserError
from lorakiln.lora_files.reading import read_lora
from lorakiln.tools.inspect import inspect

LAYER = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


def write(path, config):
    tensors = {f"{LAYER}.lora_A.weight": torch.ones(4, 8), f"{LAYER}.lora_B.weight": torch.ones(8, 4)}
    save_tensors(path, tensors, {"lora_adapter_metadata": config})
    return path


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ({"to_q": 3}, 3.0),
        ({"attn1.to_q": 3}, 3.0),
        ({r"attn1\.to_q$": 3}, 3.0),
        ({"o_q": 3, "attn2.to_q": 5}, 16.0),
        ({"^attn1.to_q": 3}, 16.0),
        ({"^" + LAYER.removeprefix("unet."): 3}, 3.0),
        ({LAYER.removeprefix("unet."): 2.5, "to_q": 3}, 2.5),
        ({}, 16.0),
        (None, 16.0),
    ],
)
def test_an_entry_is_for_the_layers_whose_names_end_in_it(patterns, expected):
    assert find_alpha({"unet.alpha_pattern": patterns, "unet.lora_alpha": 16}, LAYER, 4, "x") == expected


def test_no_file_says_what_is_matched_for_how_long(tmp_path):
    path = write(tmp_path / "x.safetensors", json.dumps({"unet.alpha_pattern": {"([a-z_.]+)+$X|(([a-z0-9_.])+)+!": 1}}))
    began = time.monotonic()
    with pytest.raises(UserError, match="by a regular expression"):
        inspect(path)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"unet.alpha_pattern": {"(": 1}}, "by a regular expression"),
        ({"unet.alpha_pattern": [1]}, r"alpha_pattern is \[1\], no names"),
        ({"unet.alpha_pattern": {"to_q": None}}, "alpha_pattern of 'to_q' is null, no number"),
        ({"unet.lora_alpha": "abc"}, 'lora_alpha is "abc", no number'),
        ({"unet.lora_alpha": None}, "lora_alpha is null, no number"),
        ({"unet.lora_alpha": True}, "lora_alpha is true, no number"),
        ({"unet.lora_alpha": float("nan")}, "lora_alpha is NaN, no number"),
        ({"unet.lora_alpha": 10**400}, "no number"),
        ({"unet.lora_alpha": [[1] * 99]}, r"lora_alpha is \[\[1, .{40,60}\.\.\., no number"),
    ],
)
def test_what_is_no_alpha_is_refused_in_one_message(tmp_path, config, said):
    with pytest.raises(UserError, match=said):
        read_lora(write(tmp_path / "x.safetensors", json.dumps(config)))


def test_json_without_end_is_refused():
    with pytest.raises(UserError, match="not JSON"):
        read_config("[" * 100_000, "x")
