"""`lorakiln generate --lora` with files that mean harm, or are none: one line that names the file, and no picture."""

import json
import os
import struct

import pytest
import torch

from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.cli import main

MODULE = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_q"


def lora(path, down=None, up=None, module=MODULE):
    tensors = {
        f"{module}.lora_down.weight": torch.ones(2, 192) if down is None else down,
        f"{module}.lora_up.weight": torch.ones(192, 2) if up is None else up,
    }
    save_tensors(path, tensors, {})


def header(text, body=b""):
    return lambda path: path.write_bytes(struct.pack("<Q", len(text)) + text + body)


HOSTILE = {
    "a pipe": (os.mkfifo, "a pipe, not a regular file"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "a device, not a regular file"),
    "memory": (lambda path: path.symlink_to("/proc/self/mem"), ""),
    "a link to nothing": (lambda path: path.symlink_to("/nowhere"), "no such file"),
    "a link to itself": (lambda path: path.symlink_to(path), "cannot be read"),
    "a folder": (lambda path: path.mkdir(), "the folder holds 0"),
    "nothing": (lambda path: path.touch(), "not a readable safetensors file"),
    "garbage": (lambda path: path.write_bytes(bytes(range(256)) * 20), "not a readable safetensors file"),
    "an endless header": (lambda path: path.write_bytes(struct.pack("<Q", 2**62)), "not a readable safetensors file"),
    "a deep header": (header(b"[" * 200_000), "not a readable safetensors file"),
    "metadata that is no text": (header(json.dumps({"__metadata__": {"a": 1}}).encode()), "not a readable safeten"),
    "no tensors": (lambda path: save_tensors(path, {}, {}), "no tensors"),
    "NaN": (lambda path: lora(path, torch.full((2, 192), float("nan"))), "not finite"),
    "other ranks": (lambda path: lora(path, up=torch.ones(192, 3)), "no low-rank update"),
    "another width": (lambda path: lora(path, torch.ones(2, 191)), "trained on another shape"),
    "whole numbers": (lambda path: lora(path, torch.ones(2, 192, dtype=torch.int64)), "int64"),
    "another module": (lambda path: lora(path, module="lora_unet_nothing\x1b[31m\u202e"), r"nothing\x1b[31m\u202e"),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files(tmp_path, capsys, name):
    make, said = HOSTILE[name]
    file, out = tmp_path / "hostile.safetensors", tmp_path / "out"
    make(file)
    assert main(["generate", "a cat", "--lora", str(file), "--out", str(out), "--steps", "1", "--size", "32x32"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"error: {file}: ") and said in told
    assert not list(out.glob("*.png"))


def test_a_pickle_is_not_opened(tmp_path, capsys):
    file = tmp_path / "hostile.ckpt"
    file.write_bytes(f"cos\nsystem\n(S'touch {tmp_path / 'ran'}'\ntR.".encode())
    assert main(["generate", "a cat", "--lora", str(file), "--out", str(tmp_path / "out")]) == 1
    assert "a pickle, which can run code" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()
