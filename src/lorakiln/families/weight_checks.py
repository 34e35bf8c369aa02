"""A base model with broken weights is refused before it makes broken pictures."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from lorakiln.console.errors import UserError


def is_finite(weight: Tensor) -> bool:
    """Whether no number of a tensor of any shape is NaN or infinite."""
    # A sum is finite only if every number is. It may be too large for the type although they are; then the least and
    # the greatest say, which takes twice as long. isfinite makes tensors of the weight's size.
    return bool(weight.sum().isfinite()) or all(bool(end.isfinite()) for end in torch.aminmax(weight))


def describe_broken(names: Sequence[str], where: Path) -> UserError:
    """What to raise about weights that are not finite.

    Args:
        names: theirs, at least one.
        where: their file or folder.
    """
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return UserError(
        f"weights are NaN or infinite: {', '.join(names[:3])}{more}",
        where=where,
        fix="the file is damaged, or was saved in a precision too small for it: download it again",
    )
