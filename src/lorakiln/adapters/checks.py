"""What a file's tensors must be to make a layer: dtypes, dimensions, finite numbers; and how exact they are kept."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lorakiln.console.errors import UserError

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# Half precision holds every number of both exactly.
EIGHT_BITS = (torch.float8_e4m3fn, torch.float8_e5m2)
# How far a layer's weight change may be from the original one, relative, in a precision. Half a unit in the last place
# of each factor of up @ down, with room for their product. Half precision loses more where weights are below its
# smallest normal number, 6e-5: see `low_rank.cast`.
TOLERANCE = {torch.float32: 1e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}
FIX = "the file is damaged, or of a kind that is not known: get it again from where it was made"


def check_finite(*tensors: Tensor, where: str) -> None:
    """Raise UserError, naming `where`, if any number is NaN or infinite."""
    if not all(torch.isfinite(tensor).all() for tensor in tensors):
        raise UserError("it holds numbers that are not finite", where=where, fix="use the adapter saved before it")


def to_weight(tensor: Tensor, where: str, dimensions: tuple[int, ...] = (2, 4)) -> Tensor:
    """A weight, or a factor of one: `tensor` itself, 8-bit floats as half precision.

    Raises:
        UserError: it has another number of dimensions, no numbers, others than floats, or one that is not finite.
    """
    if tensor.dtype not in FLOATS + EIGHT_BITS:
        raise UserError(f"it is of {_name(tensor)}, no weights", where=where, fix=FIX)
    if tensor.ndim not in dimensions or not tensor.numel():
        raise UserError(f"its shape is {format_shape(tensor)}, no weight's", where=where, fix=FIX)
    tensor = tensor.half() if tensor.dtype in EIGHT_BITS else tensor
    check_finite(tensor, where=where)
    # Whatever the file holds, a weight is computed in float32 in the end.
    if tensor.dtype == torch.float64 and float(tensor.abs().max()) > torch.finfo(torch.float32).max:
        raise UserError("it holds numbers that are too large for float32", where=where, fix=FIX)
    return tensor


def to_number(value: Tensor | float, where: str) -> float:
    """A scalar, such as alpha.

    Raises:
        UserError: it is no single real number.
    """
    if isinstance(value, Tensor):
        if value.dtype == torch.bool or value.is_complex() or value.numel() != 1:
            raise UserError(f"it is {format_shape(value)} of {_name(value)}, no number", where=where, fix=FIX)
        value = float(value.double())
    if not math.isfinite(value):
        raise UserError(f"no low-rank update: it is {value}", where=where, fix=FIX)
    return value


def is_whole(cast: Tensor, given: Tensor) -> bool:
    """Whether a tensor in another type is what was given, but for rounding."""
    if cast.dtype == given.dtype:
        return True
    if not torch.isfinite(cast).all():
        return False
    exact, largest = scale_to_one(given.double())
    return not largest or float((cast.double() / largest - exact).norm() / exact.norm()) <= TOLERANCE.get(
        cast.dtype, 0.0
    )


def scale_to_one(factor: Tensor) -> tuple[Tensor, float]:
    """A factor with 1 as its largest number, and what it was: squares of very small or large numbers are none."""
    largest = float(factor.abs().max())
    return (factor / largest, largest) if largest else (factor, 0.0)


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def format_shape(tensor: Tensor) -> str:
    """ "4x320"."""
    return "x".join(map(str, tensor.shape)) or "a scalar"


def list_shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """By name."""
    return {name: tensor.shape for name, tensor in tensors.items()}


def describe_shapes(tensors: Mapping[str, Tensor]) -> str:
    """For a message: "hada_w1_a 64x4, hada_w1_b 4x320"."""
    return ", ".join(f"{name} {'x'.join(map(str, one.shape))}" for name, one in sorted(tensors.items()))
