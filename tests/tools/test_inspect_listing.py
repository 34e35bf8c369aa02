"""What a file says of itself is printed, and does nothing else."""

import json

import pytest
import torch

from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.cli import main
from lorakiln.console.terminal_text import escape_text

LAYER = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"


def write(path, metadata, name=LAYER):
    tensors = {f"{name}.lora_down.weight": torch.ones(2, 8), f"{name}.lora_up.weight": torch.ones(8, 2)}
    save_tensors(path, tensors, metadata)
    return str(path)


def test_control_characters_in_metadata_are_shown_as_escapes(tmp_path, capsys):
    metadata = {
        "ss_output_name": "\x1b[31mred\x1b]0;title\x07",
        "ss_base_model_version": "sd_v1\x1b[2J",
        "key\x1b[1m": "right \u202e left",
        "ss_datasets": json.dumps({"a": "\x9b31m\n\r"}),
    }
    assert main(["inspect", write(tmp_path / "x.safetensors", metadata), "--layers"]) == 0
    out = capsys.readouterr().out
    assert all(one.isprintable() or one == "\n" for one in out)
    for text in (r"\x1b[31mred\x1b]0;title\x07", r"sd_v1\x1b[2J", r"key\x1b[1m", r"right \u202e left"):
        assert text in out


def test_errors_do_not_reach_the_terminal_either(tmp_path, capsys):
    assert main(["inspect", write(tmp_path / "x.safetensors", {}, "lora_unet_\x1b[31m")]) == 1
    error = capsys.readouterr().err
    assert r"lora_unet_\x1b[31m" in error and "\x1b" not in error


def test_the_command_to_go_on_with_holds_numbers_alone(tmp_path, capsys):
    metadata = {"ss_seed": "7; touch /tmp/x", "ss_unet_lr": "1e-4", "ss_total_batch_size": "$(id)"}
    assert main(["inspect", write(tmp_path / "x.safetensors", metadata), "--json"]) == 0
    retrain = json.loads(capsys.readouterr().out)["retrain"]
    assert "train.optimizer.lr=1e-4" in retrain
    assert not [one for one in retrain if one.startswith(("train.seed", "train.batch_size"))]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain\nlines", "plain\nlines"), ("naïve 日本 \u200b", "naïve 日本 " + r"\u200b")],
)
def test_what_can_be_printed_stays(text, shown):
    assert escape_text(text) == shown
