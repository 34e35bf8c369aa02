"""IA3: every output's weights, or every input's, times a number.

    LyCORIS   W' = W (1 + weight), of the inputs where `on_input` is 1
    peft      W' = W ia3_l; of the inputs in feed-forward layers; of the outputs it multiplies the bias as well

Sources: arXiv 2205.05638; LyCORIS, modules/ia3.py; peft, tuners/ia3/layer.py.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from lorakiln.console.errors import UserError
from lorakiln.lora_files.adapter import Relative
from lorakiln.lora_files.checks import number, weights

IA3 = "IA3"
ENDINGS = {"weight", "on_input"}
UNBIASED = ("to_q", "to_k", "to_v")  # all other layers of Stable Diffusion's have a bias


def scaling(tensors: Mapping[str, Tensor], where: str) -> Relative:
    """The layer of LyCORIS' tensors.

    Raises:
        UserError: they are no finite numbers.
    """
    factors = weights(tensors["weight"], f"{where}, weight", (1, 2, 4))
    axis = 1 if number(tensors["on_input"], f"{where}, on_input") else 0
    return _scaling(factors.flatten().float(), axis, where, factors.dtype)


def peft_scaling(factors: Tensor, module: str, feedforward: bool, where: str) -> Relative:
    """The layer of peft's tensor.

    Args:
        factors: (1, in) or (out, 1) of a linear layer; of a convolution (1, in, 1, 1) or (1, out, 1, 1).
        feedforward: whether the config lists the module as feed-forward, which of a convolution tells the axis.

    Raises:
        UserError: they are no finite numbers. `Relative.change_of` raises it where the bias would change too.
    """
    factors = weights(factors, f"{where}, ia3_l")
    on_input = factors.shape[0] == 1 if factors.ndim == 2 else feedforward
    more = factors.flatten().float() - 1
    relative = _scaling(more, 1 if on_input else 0, where, factors.dtype)
    biased = not on_input and not module.endswith(UNBIASED) and bool(more.any())
    return replace(relative, change=partial(_refuse, where)) if biased else relative


def _refuse(where: str, weight: Tensor) -> Tensor:
    what = "this is IA3 of a layer's outputs: it multiplies the layer's bias too, and a LoRA changes weights alone"
    raise UserError(what, where=where, fix="use it in the program that made it")


def _scaling(more: Tensor, axis: int, where: str, dtype: torch.dtype) -> Relative:
    return Relative(IA3, partial(_change, more, axis), where, more.numel(), dtype)


def _change(more: Tensor, axis: int, weight: Tensor) -> Tensor:
    if len(more) != weight.shape[axis]:
        raise ValueError("another number of outputs or inputs")
    shape = [1] * weight.ndim
    shape[axis] = -1
    return weight * more.reshape(shape)
