"""LoRA files that nobody means well with, through every command that reads one: one message, no traceback, no wait."""

import json
import os
import struct
import subprocess

import pytest
import torch

from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.cli import main
from lorakiln.lora_files.reading import read_lora

NAME = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
COMMANDS = {
    "inspect": ["inspect", "FILE"],
    "convert": ["convert", "FILE", "OUT"],
    "resize": ["resize", "FILE", "OUT", "--rank", "1"],
    "merge": ["merge", "FILE", "FILE", "--out", "OUT"],
    "into": ["merge", "FILE", "--into", "BASE", "--out", "OUT"],
    "generate": ["generate", "x", "--lora", "FILE", "--base", "BASE", "--steps", "1", "--out", "OUT"],
}


@pytest.fixture
def run(tmp_path, micro_model, capsys):
    """A command on FILE: its status and what it said; nothing is written where it fails."""

    def call(name):
        given = {"FILE": "x.safetensors", "OUT": "out.safetensors"}
        words = [str(tmp_path / given[word]) if word in given else word for word in COMMANDS[name]]
        out = tmp_path / ("out" if name in ("into", "generate") else "out.safetensors")
        words = [str(out) if word == str(tmp_path / "out.safetensors") else word for word in words]
        status = main([micro_model.path if word == "BASE" else word for word in words])
        assert status == 0 or not out.exists()
        return status, capsys.readouterr().err

    return call


def tensors(down=1.0, up=1.0, dtype=torch.float32, **more):
    one = {
        "lora_down.weight": torch.full((2, 8), down, dtype=dtype),
        "lora_up.weight": torch.full((8, 2), up, dtype=dtype),
    }
    return {f"{NAME}.{ending}": value for ending, value in (one | more).items()}


@pytest.mark.parametrize("name", [one for one in COMMANDS if one not in ("into", "generate")])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tensors(1e300, dtype=torch.float64), "too large for float32"),
        (tensors(1e300, 1e-300, dtype=torch.float64), "too large for float32"),
        (tensors(1e30, 1e30), "its change of the weight is too large for float32"),
        (tensors(alpha=torch.tensor(1e300, dtype=torch.float64)), "its change of the weight is too large for float32"),
        ({f"{NAME}.diff": torch.full((8, 8), 1e300, dtype=torch.float64)}, "too large for float32"),
    ],
)
def test_numbers_beyond_float32_are_refused(tmp_path, run, name, content, said):
    save_tensors(tmp_path / "x.safetensors", content)
    status, error = run(name)
    assert status == 1 and said in error and NAME in error and "fix: " in error


def test_numbers_within_it_are_not(tmp_path, run):
    save_tensors(tmp_path / "x.safetensors", tensors(1e15, 1e15, dtype=torch.float64))
    assert run("inspect")[0] == 0
    assert run("resize")[0] == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_a_pipe_is_not_waited_for(tmp_path, micro_model, preloaded, name):
    os.mkfifo(tmp_path / "x.safetensors")
    given = {"FILE": tmp_path / "x.safetensors", "OUT": tmp_path / "out", "BASE": micro_model.path}
    if name in ("convert", "resize", "merge"):
        given["OUT"] = tmp_path / "out.safetensors"
    words = [str(given.get(word, word)) for word in COMMANDS[name]]
    done = subprocess.run(
        [preloaded / "python", "-m", "lorakiln", *words],
        env={**os.environ, "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1 and "a pipe, not a regular file" in done.stderr and "Traceback" not in done.stderr


def write_header(path, text, size):
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))


def entry(start, *shape):
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, start + 64]}


@pytest.mark.parametrize("name", ["inspect", "convert"])
def test_two_tensors_of_one_name_are_refused(tmp_path, run, name):
    down, up = f'"{NAME}.lora_down.weight"', f'"{NAME}.lora_up.weight"'
    parts = [(down, entry(0, 2, 8)), (up, entry(64, 8, 2)), (up, entry(128, 8, 2))]
    text = "{" + ",".join(f"{key}:{json.dumps(value)}" for key, value in parts) + "}"
    write_header(tmp_path / "x.safetensors", text.encode(), 192)
    status, error = run(name)
    assert status == 1 and f"two of its tensors are called {NAME}.lora_up.weight" in error


@pytest.mark.parametrize(("count", "status"), [(10_000, 0), (10_001, 1)])
def test_metadata_of_no_programs_size_are_refused(tmp_path, run, count, status):
    save_tensors(tmp_path / "x.safetensors", tensors(), {f"key {number}": "x" for number in range(count)})
    found, error = run("convert")
    assert found == status and ("its metadata has 10,001 keys, and 10,000 are read at most" in error) == bool(status)


@pytest.mark.parametrize(
    ("alpha", "said"), [(0.0, "have alpha 0 and change nothing"), (-2.0, "have a negative alpha and act backwards")]
)
@pytest.mark.parametrize("name", COMMANDS)
def test_odd_alphas_are_told_and_do_what_they_say(tmp_path, run, name, alpha, said):
    other = NAME.replace("to_q", "to_k")
    layer = {"lora_down.weight": torch.ones(2, 32), "lora_up.weight": torch.ones(32, 2)}
    content = {f"{one}.{ending}": value.clone() for one in (NAME, other) for ending, value in layer.items()}
    save_tensors(tmp_path / "x.safetensors", content | {f"{NAME}.alpha": torch.tensor(alpha)})
    status, error = run(name)
    assert status == 0 and f"x.safetensors: 1 of its 2 layers {said}" in error
    change = read_lora(tmp_path / "x.safetensors").adapter.layers[
        "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    ]
    assert torch.equal(change.delta(), torch.full((32, 32), alpha))


def test_an_alpha_that_one_cannot_train_with_is_not_printed(tmp_path, capsys):
    save_tensors(tmp_path / "x.safetensors", tensors(alpha=torch.tensor(-1.0)))
    assert main(["inspect", str(tmp_path / "x.safetensors")]) == 0
    assert "train.adapter.alpha=2" in capsys.readouterr().out
