"""IA3: every output's weights, or every input's, times a number.

    LyCORIS   W' = W (1 + weight), of the inputs where `on_input` is 1
    peft      W' = W ia3_l; of the inputs in feed-forward layers; of the outputs it multiplies the bias as well

Sources: arXiv 2205.05638; LyCORIS, modules/ia3.py; peft, tuners/ia3/layer.py.
"""

from collections.abc import Mapping, Set
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from lorakiln.adapters.adapter import Change, Relative
from lorakiln.adapters.checks import to_weight
from lorakiln.adapters.formula import Fixed, FormulaKind, FormulaLayer, Tensors
from lorakiln.adapters.formula_tensors import read_tensors
from lorakiln.adapters.peft_config import find_setting
from lorakiln.adapters.protocol import Endings, Form, Stored
from lorakiln.adapters.targets import fits
from lorakiln.console.errors import UserError
from lorakiln.schema.adapters.ia3 import Ia3Settings

UNBIASED = ("to_q", "to_k", "to_v")  # all other layers of Stable Diffusion's have a bias


class IA3(FormulaKind):
    """See above. LyCORIS' is trained, from 0."""

    TITLE = "IA3"
    FULL_RANK, RELATIVE = False, True
    ALGO = "ia3"
    ENDINGS: ClassVar[Mapping[Form, Endings]] = {
        "kohya": Endings({"weight", "on_input"}),
        "dotted": Endings({"ia3_l", "ia3_weight"}, {"on_input"}),  # a run's own files have the last two
    }

    def claim(self, tensors: Tensors, form: Form) -> Set[str]:
        if form == "kohya":
            return self.ENDINGS[form].whole(tensors)
        own = {"ia3_weight", "on_input"}
        return own if own <= tensors.keys() else {"ia3_l"} & tensors.keys()

    def read(self, stored: Stored) -> Change:
        name = "weight" if stored.form == "kohya" else "ia3_weight"
        if name not in stored.tensors:
            return _of_peft(stored)
        tensors, fixed = read_tensors(stored, {name: (1, 2, 4)}, frozenset({"on_input"}))
        return FormulaLayer(self, {"weight": tensors[name]}, fixed, stored.where, stored.module)

    def change(self, tensors: Tensors, fixed: Fixed, weight: Tensor) -> Tensor:
        return _change(tensors["weight"].flatten(), 1 if fixed["on_input"] else 0, weight)

    def make(self, weight: Tensor, module: str, settings: Any, generator: torch.Generator) -> FormulaLayer:
        assert isinstance(settings, Ia3Settings)
        on_input = any(fits(one, module) for one in settings.on_input)
        sides = (weight.shape[1 if on_input else 0],)
        # LyCORIS' shapes: of a convolution (1, n, 1, 1), whichever side it is of.
        shape = sides if weight.ndim == 2 else (1, *sides, *[1] * (weight.ndim - 2))
        return FormulaLayer(self, {"weight": torch.zeros(shape)}, {"on_input": float(on_input)}, module=module)

    def tensors(self, layer: FormulaLayer, form: Form) -> dict[str, Tensor]:
        name = "weight" if form == "kohya" else "ia3_weight"
        return {name: layer.tensors["weight"], "on_input": torch.tensor(int(layer.fixed["on_input"]))}

    def scale(self, layer: FormulaLayer, strength: float) -> FormulaLayer:
        return replace(layer, tensors={"weight": layer.tensors["weight"] * strength})

    def config(self, layers: Mapping[str, FormulaLayer]) -> dict[str, Any]:
        """peft's is another IA3: what there is to say is in the tensors."""
        return {}


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
    return Relative(IA3.TITLE, partial(_change, more, axis), where, more.numel(), dtype)


def _change(more: Tensor, axis: int, weight: Tensor) -> Tensor:
    if len(more) != weight.shape[axis]:
        raise ValueError("another number of outputs or inputs")
    shape = [1] * weight.ndim
    shape[axis] = -1
    return weight * more.reshape(shape)


KIND = IA3()
