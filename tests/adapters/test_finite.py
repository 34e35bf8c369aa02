"""What a precision cannot hold is refused before anything is written."""

import pytest
import torch

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.artefacts.tensor_files import load_tensors
from lorakiln.cli import main
from lorakiln.lora_files.reading import read_lora
from lorakiln.lora_files.writing import write_lora

LAYER = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


def write(path, size=1.0, alpha=4.0):
    generator = torch.Generator().manual_seed(0)
    down, up = torch.randn(4, 8, generator=generator) * size, torch.randn(8, 4, generator=generator)
    write_lora(Adapter({LAYER: Layer(down, up, alpha)}), path, "kohya")
    return read_lora(path).adapter.layers[LAYER]


@pytest.mark.parametrize("form", ["kohya", "diffusers", "peft"])
def test_weights_that_half_precision_flushes_to_0_are_refused_by_their_layer(tmp_path, capsys, form):
    before = write(tmp_path / "x.safetensors", size=1e-18)
    out = tmp_path / ("out" if form == "peft" else "out.safetensors")
    arguments = ["convert", str(tmp_path / "x.safetensors"), str(out), "--to", form, "--precision"]
    assert main([*arguments, "fp16"]) == 1
    error = capsys.readouterr().err
    assert f"{LAYER}: weights are too small for float16, 100% would be lost" in error and "bf16" in error
    assert not out.exists()
    assert main([*arguments, "bf16"]) == 0
    after = read_lora(out).adapter.layers[LAYER]
    assert (after.delta() - before.delta()).norm() / before.delta().norm() < 0.01


@pytest.mark.parametrize("form", ["kohya", "diffusers", "peft"])
def test_small_factors_go_into_half_precision_with_the_others_help(tmp_path, form):
    before = write(tmp_path / "x.safetensors", size=1e-8)
    out = tmp_path / ("out" if form == "peft" else "out.safetensors")
    assert main(["convert", str(tmp_path / "x.safetensors"), str(out), "--to", form, "--precision", "fp16"]) == 0
    after = read_lora(out).adapter.layers[LAYER]
    assert after.dtype == torch.float16
    assert (after.delta() - before.delta()).norm() / before.delta().norm() < 4e-3


def test_an_alpha_is_exact_in_every_precision(tmp_path):
    for alpha, dtype in ((257.0, torch.float32), (256.0, torch.bfloat16)):
        write(tmp_path / "x.safetensors", alpha=alpha)
        write_lora(read_lora(tmp_path / "x.safetensors").adapter, tmp_path / "y.safetensors", "kohya", torch.bfloat16)
        assert read_lora(tmp_path / "y.safetensors").adapter.layers[LAYER].alpha == alpha
        tensors = load_tensors(tmp_path / "y.safetensors")[0]
        assert {key: value.dtype for key, value in tensors.items() if key.endswith("alpha")}.popitem()[1] == dtype
