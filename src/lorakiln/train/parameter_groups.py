"""Parameters that have a learning rate of their own: those of parts of the network, and LoRA+'s."""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lorakiln.console.errors import UserError
from lorakiln.schema.optimizers import OptimizerSettings

FASTER = "B"  # what LoRA+'s factor is called


@dataclass(frozen=True)
class ParameterGroups:
    """Parameters by their learning rate.

    Attributes:
        of: the group of a parameter's name; "" for those with no rate of their own.
        peaks: of every group the learning rate that the schedule multiplies.
    """

    of: Callable[[str], str]
    peaks: Mapping[str, float]


def make_groups(
    names: Sequence[str],
    settings: OptimizerSettings,
    faster: Callable[[str], bool] = lambda name: False,
    ratio: float = 1.0,
    own: Mapping[str, float] | None = None,
) -> ParameterGroups:
    """By part, and in each part those that learn `ratio` times as fast by themselves: "up_blocks", "up_blocks B".

    Args:
        names: of all trained parameters.
        faster: whether a parameter is one of them.
        own: learning rates of parts beside those of `part_lrs`.

    Raises:
        UserError: no trained parameter belongs to a part.
    """
    settings = settings.model_copy(update={"part_lrs": {**(own or {}), **settings.part_lrs}})
    part_of = list_part_names(names, settings)

    def group_of(name: str) -> str:
        return f"{part_of(name)} {FASTER}".strip() if ratio != 1 and faster(name) else part_of(name)

    peaks = {}
    for name in names:
        rate = settings.part_lrs.get(part_of(name), settings.lr)
        peaks[group_of(name)] = rate * (ratio if ratio != 1 and faster(name) else 1.0)
    return ParameterGroups(group_of, peaks)


def list_part_names(names: Sequence[str], settings: OptimizerSettings) -> Callable[[str], str]:
    """What tells the part of a parameter's name: the longest key of `part_lrs` that it begins with, or, of keys with
    "*", whose pattern its module's name matches; or "".

    Args:
        names: of all trained parameters.

    Raises:
        UserError: no trained parameter belongs to a part.
    """
    parts = sorted(settings.part_lrs, key=len, reverse=True)

    def part_of(name: str) -> str:
        return next((part for part in parts if _belongs(name, part)), "")

    if absent := sorted(set(parts) - {part_of(name) for name in names}):
        known = sorted({".".join(name.split(".")[:count]) for name in names for count in (1, 2)})
        raise UserError(
            f"no trained module's name begins with {absent[0]!r}, or all have a longer part",
            where="train.optimizer.part_lrs",
            fix=f"the parts here: {', '.join(known)}",
        )
    return part_of


def _belongs(name: str, part: str) -> bool:
    if "*" in part:
        return fnmatch.fnmatchcase(name, f"{part}.*")
    return name == part or name.startswith(f"{part}.")
