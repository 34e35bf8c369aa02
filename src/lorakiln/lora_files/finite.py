"""Numbers that are not finite never go into a LoRA file, nor come out of one unseen."""

import torch
from torch import Tensor

from lorakiln.console.errors import UserError

# How far a layer's weight change may be from the original one, relative, in a precision. Half a unit in the last place
# of each factor of up @ down, with room for their product. Half precision loses more where weights are below its
# smallest normal number, 6e-5: that is refused.
TOLERANCE = {torch.float32: 1e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def check_finite(*tensors: Tensor, where: str) -> None:
    """Raise UserError, naming `where`, if any number is NaN or infinite."""
    if not all(torch.isfinite(tensor).all() for tensor in tensors):
        raise UserError("it holds numbers that are not finite", where=where, fix="use the adapter saved before it")


def to_dtype(tensor: Tensor, dtype: torch.dtype | None, where: str) -> Tensor:
    """`tensor` in `dtype` (None: its own).

    Raises:
        UserError: a number is not finite or too large for `dtype`, or so many are too small for it that the tensor
            differs by more than `TOLERANCE`.
    """
    check_finite(tensor, where=where)
    if dtype is None:
        return tensor
    cast = tensor.to(dtype)
    fix = "take bf16 or fp32 (--precision, export.precision)"
    if not torch.isfinite(cast).all():
        raise UserError(f"a weight is too large for {dtype}", where=where, fix=fix)
    if tensor.dtype != dtype:
        whole = tensor.double()
        # Scaled first, since the square of a small number may be none.
        largest = whole.abs().max()
        lost = float(((cast.double() - whole) / largest).norm() / (whole / largest).norm()) if largest else 0.0
        if lost > TOLERANCE.get(dtype, 0.0):
            raise UserError(f"weights are too small for {dtype}, {lost:.0%} would be lost", where=where, fix=fix)
    return cast
