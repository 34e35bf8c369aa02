"""Numbers that are not finite never go into a LoRA file, nor come out of one unseen."""

import torch
from torch import Tensor

from lorakiln.console.errors import UserError


def check_finite(*tensors: Tensor, where: str) -> None:
    """Raise UserError, naming `where`, if any number is NaN or infinite."""
    if not all(torch.isfinite(tensor).all() for tensor in tensors):
        raise UserError("it holds numbers that are not finite", where=where, fix="use the adapter saved before it")


def to_dtype(tensor: Tensor, dtype: torch.dtype | None, where: str) -> Tensor:
    """`tensor` in `dtype` (None: its own).

    Raises:
        UserError: a number is not finite, or too large for `dtype`.
    """
    check_finite(tensor, where=where)
    if dtype is None:
        return tensor
    cast = tensor.to(dtype)
    if not torch.isfinite(cast).all():
        raise UserError(f"a weight is too large for {dtype}", where=where, fix="set export.precision=bf16 or fp32")
    return cast
