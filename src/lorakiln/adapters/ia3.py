"""IA3: every output's weights, or every input's, times a number.

    LyCORIS   W' = W (1 + weight), of the inputs where `on_input` is 1
    peft      W' = W ia3_l; of the inputs in feed-forward layers; of the outputs it multiplies the bias as well

Sources: arXiv 2205.05638; LyCORIS, modules/ia3.py; peft, tuners/ia3/layer.py.
"""

from collections.abc import Mapping, Set
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from lorakiln.adapters.adapter import Relative
from lorakiln.adapters.checks import to_number, to_weight
from lorakiln.adapters.peft_config import find_setting
from lorakiln.adapters.protocol import Endings, Form, Stored
from lorakiln.console.errors import UserError

TITLE = "IA3"
FULL_RANK, RELATIVE = False, True
ENDINGS: Mapping[Form, Endings] = {"kohya": Endings({"weight", "on_input"}), "dotted": Endings({"ia3_l"})}
UNBIASED = ("to_q", "to_k", "to_v")  # all other layers of Stable Diffusion's have a bias


def claim(tensors: Mapping[str, Tensor], form: Form) -> Set[str]:
    return ENDINGS[form].whole(tensors)


def read(stored: Stored) -> Relative:
    return _of_lycoris(stored.tensors, stored.where) if stored.form == "kohya" else _of_peft(stored)


def _of_lycoris(tensors: Mapping[str, Tensor], where: str) -> Relative:
    factors = to_weight(tensors["weight"], f"{where}, weight", (1, 2, 4))
    axis = 1 if to_number(tensors["on_input"], f"{where}, on_input") else 0
    return _scaling(factors.flatten().float(), axis, where, factors.dtype)


def _of_peft(stored: Stored) -> Relative:
    """The layer of one tensor: (1, in) or (out, 1) of a linear layer; of a convolution (1, in, 1, 1) or (1, out, 1, 1),
    where whether the config lists the module as feed-forward tells the axis.

    Raises:
        UserError: they are no finite numbers. `Relative.change_of` raises it where the bias would change too.
    """
    where, feedforward = stored.where, _feedforward(stored)
    factors = to_weight(stored.tensors["ia3_l"], f"{where}, ia3_l")
    on_input = factors.shape[0] == 1 if factors.ndim == 2 else feedforward
    more = factors.flatten().float() - 1
    relative = _scaling(more, 1 if on_input else 0, where, factors.dtype)
    biased = not on_input and not stored.module.endswith(UNBIASED) and bool(more.any())
    return replace(relative, change=partial(_refuse, where)) if biased else relative


def _feedforward(stored: Stored) -> bool:
    """Whether the config lists a module, by the end of its name, as feed-forward."""
    listed = find_setting(stored.config, stored.module, "feedforward_modules") or []
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        what = "its feedforward_modules are no list of names"
        raise UserError(what, where=stored.where, fix="write the layers' names into its adapter_config.json")
    return any(stored.module.endswith(name) for name in listed if name)


def _refuse(where: str, weight: Tensor) -> Tensor:
    what = "this is IA3 of a layer's outputs: it multiplies the layer's bias too, and a LoRA changes weights alone"
    raise UserError(what, where=where, fix="use it in the program that made it")


def _scaling(more: Tensor, axis: int, where: str, dtype: torch.dtype) -> Relative:
    return Relative(TITLE, partial(_change, more, axis), where, more.numel(), dtype)


def _change(more: Tensor, axis: int, weight: Tensor) -> Tensor:
    if len(more) != weight.shape[axis]:
        raise ValueError("another number of outputs or inputs")
    shape = [1] * weight.ndim
    shape[axis] = -1
    return weight * more.reshape(shape)
