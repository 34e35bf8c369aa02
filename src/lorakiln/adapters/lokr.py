"""LoKr (LyCORIS, peft): the Kronecker product of two matrices, each of which may be a product; see `lycoris_to_lora`.

Trained in LyCORIS' shapes: a weight (o p, i q) is w1 (o, i) (x) w2 (p, q), the sides split as `split` does. w2 is of
low rank where that is smaller than half of its longer side, else whole; w1 too with `decompose_both`. A convolution's
kernel belongs to w2. The factor of w2 that is multiplied last is 0 at first, the others are drawn as torch draws a
linear layer's weight.
"""

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from lorakiln.adapters.adapter import Layer
from lorakiln.adapters.formula import Fixed, FormulaKind, FormulaLayer, Tensors
from lorakiln.adapters.formula_tensors import draw_uniform, pad_ranks, read_tensors
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
from lorakiln.schema.adapters.lokr import LokrSettings

_OWN = {"lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"}


class LoKr(FormulaKind):
    """See above."""

    TITLE = "LoKr"
    FULL_RANK, RELATIVE = True, False
    ALGO = "lokr"
    ENDINGS: ClassVar[Mapping[Form, Endings]] = {"kohya": Endings(_OWN, {"alpha"}), "dotted": Endings(_OWN)}

    def claim(self, tensors: Tensors, form: Form) -> Set[str]:
        """Any of them is one's: which are missing is told."""
        own = any(name.startswith("lokr_") for name in tensors)
        return self.ENDINGS[form].all & tensors.keys() if own else frozenset()

    def read(self, stored: Stored) -> FormulaLayer:
        tensors, fixed = read_tensors(stored, dict.fromkeys(_OWN, (2, 4)))
        if stored.form == "dotted":
            rank = _rank(tensors)
            scale = find_scale(rank, stored)
            if rank is None and scale != 1:
                # Of whole factors LyCORIS knows no scale.
                first = "lokr_w1" if "lokr_w1" in tensors else next(iter(tensors))
                tensors[first] = tensors[first] * scale
            fixed = {} if rank is None else {"alpha": rank * scale}
        return FormulaLayer(self, tensors, fixed, stored.where, stored.module)

    def change(self, tensors: Tensors, fixed: Fixed, weight: Tensor) -> Tensor:
        one, two = (
            tensors[name] if name in tensors else multiply(*_pair(tensors, name)) for name in ("lokr_w1", "lokr_w2")
        )
        rank = _rank(tensors)
        scale = 1.0 if rank is None else compute_scale(fixed.get("alpha"), rank)
        return (scale * torch.kron(one, two.flatten(1))).reshape(weight.shape)

    def make(self, weight: Tensor, module: str, settings: Any, generator: torch.Generator) -> FormulaLayer:
        assert isinstance(settings, LokrSettings)
        rank, kernel = choose_rank(settings, module), weight.shape[2:]
        (out_1, out_2), (into_1, into_2) = (split(side, settings.factor) for side in weight.shape[:2])
        low = not settings.full_matrix
        tensors = {}
        if low and settings.decompose_both and rank < max(out_1, into_1) / 2:
            tensors["lokr_w1_a"] = draw_uniform((out_1, rank), generator)
            tensors["lokr_w1_b"] = draw_uniform((rank, into_1), generator)
        else:
            tensors["lokr_w1"] = draw_uniform((out_1, into_1), generator)
        if low and rank < max(out_2, into_2) / 2:
            tensors["lokr_w2_a"] = draw_uniform((out_2, rank), generator)
            tensors["lokr_w2_b"] = torch.zeros(rank, into_2 * kernel.numel())
        else:
            tensors["lokr_w2"] = torch.zeros(out_2, into_2, *kernel)
        return FormulaLayer(self, tensors, {"alpha": choose_alpha(settings, module)}, module=module)

    def to_lora(self, layer: FormulaLayer) -> Layer:
        return make_sound_layer(self.TITLE, _make, layer.tensors, layer.alpha, layer.module, layer.where)

    def rank_of(self, tensors: Tensors) -> int | None:
        return _rank(tensors)

    def shape_of(self, layer: FormulaLayer) -> tuple[int, ...]:
        tensors = layer.tensors
        out, into = 1, 1
        for name in ("lokr_w1", "lokr_w2"):
            if name in tensors:
                up, down = tensors[name], tensors[name][:1]
            else:
                up, down = _pair(tensors, name)
            out, into, kernel = out * len(up), into * down[0].numel(), down.shape[2:]
        if kernel.numel() > 1 or len(kernel):
            return (out, into // kernel.numel(), *kernel)
        return (out, *to_kernel(torch.empty(1, into, device="meta"), layer.module).shape[1:])

    def widen(self, given: FormulaLayer, fresh: FormulaLayer) -> FormulaLayer | None:
        for name in ("lokr_w1", "lokr_w2"):
            if name in fresh.tensors and f"{name}_a" in given.tensors:
                given = _made_whole(given, name, fresh.tensors[name].shape)
        return pad_ranks(given, fresh, ("lokr_w1_a", "lokr_w2_a"), ("lokr_w1_b", "lokr_w2_b"))

    def scale(self, layer: FormulaLayer, strength: float) -> FormulaLayer:
        if layer.rank is not None:
            return super().scale(layer, strength)
        return replace(layer, tensors={**layer.tensors, "lokr_w1": layer.tensors["lokr_w1"] * strength})

    def config(self, layers: Mapping[str, FormulaLayer]) -> dict[str, Any]:
        """peft's. Whole factors have no scale, and peft gives them one: it is 1, of a rank that leaves them whole."""
        scales = {}
        for name, layer in layers.items():
            rank = layer.rank or max(_sides(layer))
            scales[name] = (rank, float(rank) if layer.rank is None or layer.alpha is None else layer.alpha)
        return self.format_config(scales) | {
            "decompose_both": any("lokr_w1_a" in layer.tensors for layer in layers.values()),
            "decompose_factor": _find_factor(layers.values()) or -1,
        }

    def in_peft(self, layers: Mapping[str, FormulaLayer]) -> bool:
        return _find_factor(layers.values()) is not None

    def arguments(self, settings: LokrSettings) -> dict[str, Any]:
        given = {"factor": settings.factor, "decompose_both": settings.decompose_both}
        return given | ({"full_matrix": True} if settings.full_matrix else {})


def _find_factor(layers: Iterable[FormulaLayer]) -> int | None:
    """One that splits every layer's sides as they are split, by peft's rule too: the tensors do not tell which it was.

    peft does not put the smaller number first where the factor divides a side.
    """
    sides = {pair for layer in layers for pair in zip(_sides(layer), _first_sides(layer), strict=True)}
    factors = [-1, *sorted({first for _, first in sides}, reverse=True)]

    def splits(factor: int, side: int, first: int) -> bool:
        swapped = factor > 0 and side % factor == 0 and factor > side // factor
        return split(side, factor)[0] == first and not swapped

    return next((factor for factor in factors if all(splits(factor, *pair) for pair in sides)), None)


def _first_sides(layer: FormulaLayer) -> tuple[int, int]:
    """(out, in) of the first factor."""
    up, down = (layer.tensors.get("lokr_w1", layer.tensors.get(f"lokr_w1_{one}")) for one in "ab")
    assert up is not None and down is not None
    return up.shape[0], down.shape[1]


def _sides(layer: FormulaLayer) -> tuple[int, int]:
    """(out, in) of the weight, without a kernel."""
    out, into, *_ = layer.owner.shape_of(layer) or (1, 1)
    return out, into


def _made_whole(layer: FormulaLayer, name: str, shape: torch.Size) -> FormulaLayer:
    """With one of the factors that are products multiplied out, and the layer's scale in it."""
    rank = _rank(layer.tensors) or 1
    scale = compute_scale(layer.fixed.get("alpha"), rank)
    product = scale * multiply(*_pair(layer.tensors, name))
    rest = {key: tensor for key, tensor in layer.tensors.items() if not key.startswith(name)}
    whole = product.reshape(shape) if product.numel() == shape.numel() else product
    return replace(layer, tensors={**rest, name: whole}, fixed={"alpha": float(rank)})


def split(side: int, factor: int) -> tuple[int, int]:
    """A number as the product of two, the smaller one first, as LyCORIS splits a weight's sides.

    That is `factor` and the rest where it divides the number; else the largest divisor up to the factor and to the
    number's root, and the rest; -1 asks for the two that are nearest to each other.
    """
    if factor > 0 and side % factor == 0:
        first = factor
    else:
        most = side if factor < 0 else factor
        first = max(one for one in range(1, int(side**0.5) + 1) if side % one == 0 and one <= most)
    return min(first, side // first), max(first, side // first)


def _rank(tensors: Tensors) -> int | None:
    """Of the factors that are products; None where none is."""
    return next((len(tensors[name]) for name in ("lokr_w1_b", "lokr_w2_b") if name in tensors), None)


def _pair(given: Tensors, name: str) -> tuple[Tensor, Tensor]:
    """up (p, r), down (r, q) or (r, q, k, k) of a factor that is a product."""
    one, two, core = given[f"{name}_a"], given[f"{name}_b"], given.get(name.replace("_w", "_t"))
    return check_ranks(one, two) if core is None else expand_tucker(core, one, two)


def _make(given: Mapping[str, Tensor], alpha: float | None, module: str) -> tuple[Tensor, Tensor, float]:
    ranks = {given[name].shape[0] for name in ("lokr_w1_b", "lokr_w2_b") if name in given}
    if len(ranks) > 1:
        raise ValueError("two ranks, and one alpha")
    up_1, down_1 = _factors(given, "lokr_w1")
    if down_1.ndim != 2:
        raise ValueError("the first factor is a matrix")
    up_2, down_2 = _factors(given, "lokr_w2")
    kernel = down_2.shape[2:]
    out, into = up_1.shape[0] * up_2.shape[0], down_1.shape[1] * down_2[0].numel()
    if up_1.shape[1] * up_2.shape[1] > min(out, into):
        up, down = factor_shortest(torch.kron(multiply(up_1, down_1), multiply(up_2, down_2).flatten(1)))
    else:
        # (a b) (x) (c d) = (a (x) c) (b (x) d)
        up, down = torch.kron(up_1, up_2), torch.kron(down_1, down_2.flatten(1))
    # The kernel's places, if any, are the last of the second factor's columns.
    down = down.reshape(down.shape[0], -1, *kernel) if kernel else down
    return up, to_kernel(down, module), compute_scale(alpha, ranks.pop()) if ranks else 1.0


def _factors(given: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """up (p, r), down (r, q) or (r, q, k, k) of one of LoKr's two factors, which may be a product itself."""
    return factor_shortest(given[name]) if name in given else _pair(given, name)


KIND = LoKr()
