"""An adapter as it is written: in a precision, and with its scale where every reader finds it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lorakiln.console.errors import UserError
from lorakiln.lora_files.adapter import Adapter, Layer
from lorakiln.lora_files.finite import TOLERANCE, check_finite

FIX = "take bf16 or fp32 (--precision, export.precision)"


@dataclass(frozen=True)
class Fitted:
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


def fitted(adapter: Adapter, dtype: torch.dtype | None, where: object, *, fold: bool = False) -> Fitted:
    """`adapter` with its factors in `dtype` (None: as they are).

    A layer whose factors are too small or too large for it has a power of two moved from one factor to the other,
    which changes no bit of their product. What is lost even so is borne where it is nothing beside the whole: the
    difference of a layer's change is below `TOLERANCE` times the root mean square of all layers' changes.

    Args:
        fold: alpha = rank in every layer, and one rank in each part of the model: the scale goes into `up`, and zeros
            fill the ranks up. Programs that know no alpha, or one for all layers, are right then.

    Raises:
        UserError: a number is not finite, or too large for `dtype`, or a layer's change is lost that counts.
    """
    ranks = _ranks(adapter)
    layers, lost = {}, {}
    for name, given in adapter.layers.items():
        check_finite(given.down, given.up, where=f"{where}: {name}")
        layer = _folded(given, max(ranks[name.partition(".")[0]])) if fold else given
        kept = None if layer is given else torch.promote_types(given.down.dtype, given.up.dtype)
        layers[name], share = _fitting(layer, dtype or kept)
        if share:
            lost[name] = share
    if lost:
        _check_nothing(adapter, lost, layers, where)
    return Fitted(replace(adapter, layers=layers), lost)


def one_rank(adapter: Adapter) -> bool:
    """Whether folding fills nothing up: all layers of each part have the same rank."""
    return all(len(ranks) == 1 for ranks in _ranks(adapter).values())


def norms(layers: Mapping[str, Layer]) -> dict[str, float]:
    """||dW||, Frobenius, of every layer, by way of two matrices as small as its rank."""
    found = {}
    for name, layer in layers.items():
        up, u = _scaled(layer.up.double().flatten(1))
        down, d = _scaled(layer.down.double().flatten(1))
        product = float(((up.T @ up) * (down @ down.T)).sum())
        found[name] = abs(layer.scale) * u * d * math.sqrt(max(0.0, product))
    return found


def _scaled(factor: Tensor) -> tuple[Tensor, float]:
    """A factor with 1 as its largest number, and what it was: squares of very small or large numbers are none."""
    largest = float(factor.abs().max())
    return (factor / largest, largest) if largest else (factor, 0.0)


def _ranks(adapter: Adapter) -> dict[str, set[int]]:
    """The ranks of each part of the model."""
    found: dict[str, set[int]] = {}
    for name, layer in adapter.layers.items():
        found.setdefault(name.partition(".")[0], set()).add(layer.rank)
    return found


def _fitting(layer: Layer, dtype: torch.dtype | None) -> tuple[Layer, float]:
    """A layer with its factors in `dtype` (None: as they are); and the share of its change that is lost, if it is
    more than rounding."""
    if dtype is None:
        return layer, 0.0
    cast = replace(layer, down=layer.down.to(dtype), up=layer.up.to(dtype))
    if _is_whole(cast.down, layer.down) and _is_whole(cast.up, layer.up):
        return cast, 0.0
    even = _balanced(layer)
    cast = replace(even, down=even.down.to(dtype), up=even.up.to(dtype))
    share = _lost(layer, cast)
    return cast, 0.0 if share <= TOLERANCE.get(dtype, 0.0) else share


def _is_whole(cast: Tensor, given: Tensor) -> bool:
    if cast.dtype == given.dtype:
        return True
    if not torch.isfinite(cast).all():
        return False
    exact, largest = _scaled(given.double())
    return not largest or float((cast.double() / largest - exact).norm() / exact.norm()) <= TOLERANCE.get(
        cast.dtype, 0.0
    )


def _balanced(layer: Layer) -> Layer:
    """The same product of factors whose largest numbers are alike, by a power of two."""
    down, up = (float(factor.double().abs().max()) for factor in (layer.down, layer.up))
    if not (down and up):
        return layer
    shift = round((math.log2(up) - math.log2(down)) / 2)
    return replace(layer, down=layer.down.double() * 2.0**shift, up=layer.up.double() * 2.0**-shift)


def _lost(layer: Layer, cast: Layer) -> float:
    """||dW' - dW|| / ||dW||; NaN or infinite where a number was too large."""
    rank = layer.rank
    up = torch.cat([cast.up.double().flatten(1), -layer.up.double().flatten(1)], 1)
    down = torch.cat([cast.down.double().flatten(1), layer.down.double().flatten(1)])
    if not (torch.isfinite(up).all() and torch.isfinite(down).all()):
        return math.inf
    difference = Layer(down, up, 2.0 * rank)
    pair = norms({"difference": difference, "whole": replace(layer, alpha=float(rank))})
    return pair["difference"] / pair["whole"] if pair["whole"] else 0.0


def _check_nothing(adapter: Adapter, lost: Mapping[str, float], written: Mapping[str, Layer], where: object) -> None:
    """Raise UserError if what is lost of a layer is something beside the other layers' changes."""
    sizes = norms(adapter.layers)
    mean = math.sqrt(sum(size**2 for size in sizes.values()) / len(sizes))
    for name, share in lost.items():
        dtype = written[name].dtype
        kind = str(dtype).removeprefix("torch.")
        if math.isinf(share):
            raise UserError(f"a weight is too large for {kind}", where=f"{where}: {name}", fix=FIX)
        if sizes[name] * share > TOLERANCE.get(dtype, 0.0) * mean:
            what = f"weights are too small for {kind}, {share:.0%} would be lost"
            raise UserError(what, where=f"{where}: {name}", fix=FIX)


def _folded(layer: Layer, rank: int) -> Layer:
    """With alpha = rank, filled up with zeros; what is computed is float64."""
    down, up = layer.down, layer.up
    if layer.scale != 1:
        up = up.double() * layer.scale
    if missing := rank - layer.rank:
        down = torch.cat([down, down.new_zeros(missing, *down.shape[1:])])
        up = torch.cat([up, up.new_zeros(up.shape[0], missing, *up.shape[2:])], 1)
    return Layer(down, up, float(rank))
