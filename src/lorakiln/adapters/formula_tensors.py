"""The tensors of a kind that is a formula: read from a file, drawn for the beginning, made larger to go on from."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

import torch
from torch import Tensor

from lorakiln.adapters.checks import to_number, to_weight
from lorakiln.adapters.formula import FormulaLayer
from lorakiln.adapters.protocol import Stored


def read_tensors(
    stored: Stored, dimensions: Mapping[str, tuple[int, ...]], numbers: Set[str] = frozenset({"alpha"})
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """A layer's tensors, each of one of the numbers of dimensions it may have; and the single numbers beside them.

    Raises:
        UserError: they are no finite numbers of such dimensions.
    """
    where = stored.where
    tensors = {
        ending: to_weight(tensor, f"{where}, {ending}", dimensions[ending])
        for ending, tensor in stored.tensors.items()
        if ending not in numbers
    }
    given = {ending: tensor for ending, tensor in stored.tensors.items() if ending in numbers}
    return tensors, {ending: to_number(tensor, f"{where}, {ending}") for ending, tensor in given.items()}


def pad_ranks(
    given: FormulaLayer, fresh: FormulaLayer, ups: Sequence[str], downs: Sequence[str]
) -> FormulaLayer | None:
    """`given` with the ranks of `fresh` and its alpha, doing what it did; None if it has more, or other shapes.

    What it lacks is the fresh layer's, where that changes nothing by itself; else its `up` is 0.

    Args:
        ups, downs: the tensors (n, r) and (r, m) that are multiplied, pair by pair; a layer need not have all.
    """
    if given.tensors.keys() != fresh.tensors.keys():
        return None
    pairs = [(up, down) for up, down in zip(ups, downs, strict=True) if up in given.tensors]
    paired = {name for pair in pairs for name in pair}
    if any(given.tensors[name].shape != fresh.tensors[name].shape for name in given.tensors.keys() - paired):
        return None
    made = {name: tensor.float() for name, tensor in given.tensors.items()}
    for up_name, down_name in pairs:
        up, down = fresh.tensors[up_name].clone(), fresh.tensors[down_name].clone()
        old_up, old_down = made[up_name], made[down_name]
        rank = len(old_down)
        if rank > len(down) or up[:, :rank].numel() != old_up.numel() or down[:rank].numel() != old_down.numel():
            return None
        up[:, :rank], down[:rank] = old_up.reshape(up[:, :rank].shape), old_down.reshape(down[:rank].shape)
        if up[:, rank:].any() and down[rank:].any():
            up[:, rank:] = 0
        made[up_name], made[down_name] = up, down
    if pairs:
        # The ratio of the scales goes into a factor.
        made[pairs[0][0]] = made[pairs[0][0]] * (_scale_of(given) / _scale_of(fresh))
    return replace(fresh, tensors=made)


def _scale_of(layer: FormulaLayer) -> float:
    return 1.0 if layer.alpha is None or layer.rank is None else layer.alpha / layer.rank


def draw_uniform(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """As torch draws a linear layer's weight: U(-b, b), b = 1 / sqrt(fan_in)."""
    bound = 1 / max(1, torch.Size(shape[1:]).numel()) ** 0.5
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)
