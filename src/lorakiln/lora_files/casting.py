"""An adapter as it is written: in a precision, and with its scale where every reader finds it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from lorakiln.adapters.adapter import Adapter, Change
from lorakiln.adapters.checks import TOLERANCE, check_finite
from lorakiln.adapters.protocol import find_trained_kind
from lorakiln.console.errors import UserError

FIX = "take bf16 or fp32 (--precision, export.precision)"


@dataclass(frozen=True)
class CastAdapter:
    """What a file is to hold.

    Attributes:
        lost: of layers that are nearly zero beside the others, the share of the change that the precision loses,
            ||dW' - dW|| / ||dW||, by module; empty where every layer is whole.
    """

    adapter: Adapter
    lost: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        if not self.lost:
            return ""
        name, worst = max(self.lost.items(), key=lambda one: one[1])
        count = f"{len(self.lost)} layer{' is' if len(self.lost) == 1 else 's are'}"
        return f"{count} nearly zero beside the others; the precision loses up to {worst:.0%} of that ({name})"


def cast_adapter(
    adapter: Adapter, dtype: torch.dtype | None, where: object, *, fold: bool = False, kind: str = "lora"
) -> CastAdapter:
    """`adapter` with its numbers in `dtype` (None: as they are), as its kind casts them.

    What is lost of a layer's change is borne where it is nothing beside the whole: the difference of a layer's change
    is below `TOLERANCE` times the root mean square of all layers' changes.

    Args:
        fold: alpha = rank in every layer, and one rank in each part of the model: the scale goes into `up`, and zeros
            fill the ranks up. Programs that know no alpha, or one for all layers, are right then.
        kind: of the layers.

    Raises:
        UserError: a number is not finite, or too large for `dtype`, or a layer's change is lost that counts.
    """
    own: Any = find_trained_kind(kind)
    ranks = _ranks(adapter) if fold else {}
    layers, lost = {}, {}
    for name, given in adapter.layers.items():
        place = f"{where}: {name}"
        check_finite(*own.tensors(given, "kohya").values(), where=place)
        if fold:
            layers[name], share = own.fold(given, max(ranks[name.partition(".")[0]]), dtype, place)
        else:
            layers[name], share = own.cast(given, dtype, place) if dtype else (given, 0.0)
        if share:
            lost[name] = share
    if lost:
        _check_nothing(own.compute_norms(adapter.layers), lost, layers, where)
    return CastAdapter(replace(adapter, layers=layers), lost)


def has_one_rank(adapter: Adapter) -> bool:
    """Whether folding fills nothing up: all layers of each part have the same rank."""
    return all(len(ranks) == 1 for ranks in _ranks(adapter).values())


def _ranks(adapter: Adapter) -> dict[str, set[int]]:
    """The ranks of each part of the model."""
    found: dict[str, set[int]] = {}
    for name, layer in adapter.layers.items():
        found.setdefault(name.partition(".")[0], set()).add(layer.rank)
    return found


def _check_nothing(
    sizes: Mapping[str, float], lost: Mapping[str, float], written: Mapping[str, Change], where: object
) -> None:
    """Raise UserError if what is lost of a layer is something beside the other layers' changes.

    Args:
        sizes: ||dW|| of every layer.
    """
    mean = math.sqrt(sum(size**2 for size in sizes.values()) / len(sizes))
    for name, share in lost.items():
        dtype = written[name].dtype
        kind = str(dtype).removeprefix("torch.")
        if math.isinf(share):
            raise UserError(f"a weight is too large for {kind}", where=f"{where}: {name}", fix=FIX)
        if sizes[name] * share > TOLERANCE.get(dtype, 0.0) * mean:
            what = f"weights are too small for {kind}, {share:.0%} would be lost"
            raise UserError(what, where=f"{where}: {name}", fix=FIX)
