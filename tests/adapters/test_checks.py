"""Tensors that make no layer, as anyone may put them into a file: one message each, and it names the tensor."""

import pytest
import torch

from lorakiln.adapters.lora import make_layer
from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.cli import main
from lorakiln.console.errors import UserError
from lorakiln.lora_files.reading import read_lora
from lorakiln.tools.inspect import inspect

KOHYA = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
DOTTED = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
DOWN, UP = torch.ones(4, 8), torch.ones(8, 4)


def write(path, down, up, alpha=None, form="kohya"):
    if form == "kohya":
        tensors = {f"{KOHYA}.lora_down.weight": down, f"{KOHYA}.lora_up.weight": up}
        tensors |= {} if alpha is None else {f"{KOHYA}.alpha": alpha}
    else:
        tensors = {f"{DOTTED}.lora_A.weight": down, f"{DOTTED}.lora_B.weight": up}
        tensors |= {} if alpha is None else {f"{DOTTED}.alpha": alpha}
    # Complex numbers have no name in our own writer.
    if any(tensor.is_complex() for tensor in tensors.values()):
        from safetensors.torch import save_file

        save_file(tensors, path)
    else:
        save_tensors(path, tensors)
    return path


@pytest.mark.parametrize("form", ["kohya", "diffusers"])
@pytest.mark.parametrize(
    ("down", "up", "alpha", "said"),
    [
        (torch.tensor(1.0), UP, None, "down: its shape is a scalar, no weight's"),
        (torch.ones(4), UP, None, "down: its shape is 4, no weight's"),
        (torch.ones(4, 8, 3), UP, None, "down: its shape is 4x8x3, no weight's"),
        (torch.ones(4, 0), UP, None, "down: its shape is 4x0, no weight's"),
        (torch.ones(0, 8), torch.ones(8, 0), None, "down: its shape is 0x8, no weight's"),
        (DOWN, torch.ones(8), None, "up: its shape is 8, no weight's"),
        (DOWN, torch.ones(8, 4, 3, 3), None, "no low-rank update: down is 4x8, up is 8x4x3x3"),
        (DOWN, torch.ones(8, 3), None, "no low-rank update: down is 4x8, up is 8x3"),
        (DOWN.to(torch.int8), UP, None, "down: it is of int8, no weights"),
        (DOWN.bool(), UP, None, "down: it is of bool, no weights"),
        (DOWN, UP.to(torch.complex64), None, "up: it is of complex64, no weights"),
        (DOWN, UP, torch.tensor(True), "alpha: it is a scalar of bool, no number"),
        (DOWN, UP, torch.tensor(1 + 2j), "alpha: it is a scalar of complex64, no number"),
        (DOWN, UP, torch.ones(2), "alpha: it is 2 of float32, no number"),
        (DOWN, UP, torch.tensor(float("inf")), "alpha: no low-rank update: it is inf"),
        (DOWN, UP * float("nan"), None, "up: it holds numbers that are not finite"),
    ],
)
def test_what_is_no_layer_is_refused_by_its_tensors_name(tmp_path, capsys, down, up, alpha, said, form):
    path = write(tmp_path / "x.safetensors", down, up, alpha, form)
    with pytest.raises(UserError, match=said) as caught:
        read_lora(path)
    assert (KOHYA if form == "kohya" else DOTTED) in str(caught.value)
    assert main(["convert", str(path), str(tmp_path / "out.safetensors")]) == 1
    assert "Traceback" not in capsys.readouterr().err and not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_8_bit_floats_are_read_with_their_values(tmp_path, dtype):
    every = torch.arange(256, dtype=torch.uint8).view(dtype)
    every = every[torch.isfinite(every.float())]
    down, up = every[:240].reshape(4, 60), every[:32].reshape(8, 4)
    found = inspect(write(tmp_path / "x.safetensors", down, up, torch.tensor(2.0).to(dtype)))
    assert (found["ranks"], found["alphas"], found["dtype"]) == ({"4": 1}, {"2": 1}, {"float16": 1})
    layer = make_layer(down, up, None, "x")
    assert torch.equal(layer.down.float(), down.float()) and torch.equal(layer.up.float(), up.float())


def test_matrices_and_1x1_convolutions_go_together():
    one = make_layer(torch.ones(4, 8, 1, 1), UP, torch.tensor(4), "x")
    assert one.delta().shape == (8, 8, 1, 1) and one.alpha == 4.0
    assert make_layer(DOWN, UP[..., None, None], None, "x").delta().shape == (8, 8)
