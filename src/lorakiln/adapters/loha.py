"""LoHa (LyCORIS, peft): the product by elements of two low-rank matrices; see `lycoris_to_lora`.

Trained as LyCORIS begins it: of the four factors one is 0, those that meet the input are drawn from N(0, 1), the one
that is left from N(0, 0.1). A convolution's factors are flat, (out, r) and (r, in * k * k), without cores.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from lorakiln.adapters.adapter import Layer
from lorakiln.adapters.formula import Fixed, FormulaKind, FormulaLayer, Tensors
from lorakiln.adapters.formula_tensors import pad_ranks, read_tensors
from lorakiln.adapters.lycoris_to_lora import (
    check_ranks,
    compute_scale,
    expand_tucker,
    factor_shortest,
    find_scale,
    make_sound_layer,
    multiply,
    to_kernel,
)
from lorakiln.adapters.protocol import Endings, Form, Stored
from lorakiln.adapters.targets import choose_alpha, choose_rank
from lorakiln.schema.adapters.loha import LohaSettings

_NEEDED = {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"}
_CORES = {"hada_t1", "hada_t2"}


class LoHa(FormulaKind):
    """See above."""

    TITLE = "LoHa"
    FULL_RANK, RELATIVE = False, False
    ALGO = "loha"
    ENDINGS: ClassVar[Mapping[Form, Endings]] = {
        "kohya": Endings(_NEEDED, _CORES | {"alpha"}),
        "dotted": Endings(_NEEDED, _CORES),
    }

    def read(self, stored: Stored) -> FormulaLayer:
        tensors, fixed = read_tensors(stored, dict.fromkeys(_NEEDED | _CORES, (2, 4)))
        if stored.form == "dotted":
            rank = len(tensors["hada_w1_b"])
            fixed = {"alpha": rank * find_scale(rank, stored)}
        return FormulaLayer(self, tensors, fixed, stored.where, stored.module)

    def change(self, tensors: Tensors, fixed: Fixed, weight: Tensor) -> Tensor:
        one, two = (multiply(*_factors(tensors, which)) for which in "12")
        return (compute_scale(fixed.get("alpha"), len(tensors["hada_w1_b"])) * one * two).reshape(weight.shape)

    def make(self, weight: Tensor, module: str, settings: Any, generator: torch.Generator) -> FormulaLayer:
        assert isinstance(settings, LohaSettings)
        rank, out, columns = choose_rank(settings, module), weight.shape[0], weight[0].numel()

        def draw(*shape: int, std: float = 1.0) -> Tensor:
            return std * torch.randn(shape, generator=generator)

        tensors = {
            "hada_w1_a": draw(out, rank, std=0.1),
            "hada_w1_b": draw(rank, columns),
            "hada_w2_a": torch.zeros(out, rank),
            "hada_w2_b": draw(rank, columns),
        }
        return FormulaLayer(self, tensors, {"alpha": choose_alpha(settings, module)}, module=module)

    def to_lora(self, layer: FormulaLayer) -> Layer:
        return make_sound_layer(self.TITLE, _make, layer.tensors, layer.alpha, layer.module, layer.where)

    def rank_of(self, tensors: Tensors) -> int:
        return len(tensors["hada_w1_b"])

    def shape_of(self, layer: FormulaLayer) -> tuple[int, ...]:
        up, down = _factors(layer.tensors, "1")
        return (len(up), *to_kernel(down, layer.module).shape[1:])

    def in_peft(self, layers: Mapping[str, FormulaLayer]) -> bool:
        return True

    def widen(self, given: FormulaLayer, fresh: FormulaLayer) -> FormulaLayer | None:
        if _CORES & given.tensors.keys():
            return None
        return pad_ranks(given, fresh, ("hada_w1_a", "hada_w2_a"), ("hada_w1_b", "hada_w2_b"))


def _factors(given: Tensors, which: str) -> tuple[Tensor, Tensor]:
    one, two, core = given[f"hada_w{which}_a"], given[f"hada_w{which}_b"], given.get(f"hada_t{which}")
    return check_ranks(one, two) if core is None else expand_tucker(core, one, two)


def _make(given: Mapping[str, Tensor], alpha: float | None, module: str) -> tuple[Tensor, Tensor, float]:
    (up_1, down_1), (up_2, down_2) = _factors(given, "1"), _factors(given, "2")
    if up_1.shape[1] * up_2.shape[1] > min(up_1.shape[0], down_1[0].numel()):
        up, down = factor_shortest(multiply(up_1, down_1) * multiply(up_2, down_2))
    else:
        # (a b) * (c d) by element, at (o, i), is the sum over all pairs (r, s) of a_or c_os times b_ri d_si.
        up = (up_1[:, :, None] * up_2[:, None, :]).flatten(1)
        down = (down_1[:, None] * down_2[None, :]).flatten(0, 1)
    return up, to_kernel(down, module), compute_scale(alpha, given["hada_w1_b"].shape[0])


KIND = LoHa()
