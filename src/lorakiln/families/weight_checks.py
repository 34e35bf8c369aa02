"""A base model with broken weights is refused before it makes broken pictures."""

from pathlib import Path

import torch
from torch import Tensor, nn

from lorakiln.console.errors import UserError


def check_weights(module: nn.Module, where: Path) -> None:
    """Raise UserError, with the names, if weights of `module` are NaN or infinite."""
    broken = [name for name, weight in module.named_parameters() if not _is_finite(weight)]
    if broken:
        more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
        raise UserError(
            f"weights are NaN or infinite: {', '.join(broken[:3])}{more}",
            where=where,
            fix="the file is damaged, or was saved in a precision too small for it: download it again",
        )


def _is_finite(weight: Tensor) -> bool:
    # A sum is finite only if every number is. It may be too large for the type although they are; then the least and
    # the greatest say, which takes twice as long. isfinite makes tensors of the weight's size.
    weight = weight.detach()
    return bool(weight.sum().isfinite()) or all(bool(end.isfinite()) for end in torch.aminmax(weight))
