"""Parts of the network that have a learning rate of their own."""

from collections.abc import Callable, Sequence

from lorakiln.console.errors import UserError
from lorakiln.schema.optimizers import OptimizerSettings


def list_part_names(names: Sequence[str], settings: OptimizerSettings) -> Callable[[str], str]:
    """What tells the part of a parameter's name: the longest key of `part_lrs` that it begins with, or "".

    Args:
        names: of all trained parameters.

    Raises:
        UserError: no trained parameter belongs to a part.
    """
    parts = sorted(settings.part_lrs, key=len, reverse=True)

    def part_of(name: str) -> str:
        return next((part for part in parts if name == part or name.startswith(f"{part}.")), "")

    if absent := sorted(set(parts) - {part_of(name) for name in names}):
        known = sorted({".".join(name.split(".")[:count]) for name in names for count in (1, 2)})
        raise UserError(
            f"no trained module's name begins with {absent[0]!r}, or all have a longer part",
            where="train.optimizer.part_lrs",
            fix=f"the parts here: {', '.join(known)}",
        )
    return part_of
