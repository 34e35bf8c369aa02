"""What a file's tensors must be to make a layer: dtypes, dimensions, shapes that fit, finite numbers."""

import math

import torch
from torch import Tensor

from lorakiln.console.errors import UserError
from lorakiln.lora_files.adapter import Layer
from lorakiln.lora_files.finite import check_finite

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
# Half precision holds every number of both exactly.
EIGHT_BITS = (torch.float8_e4m3fn, torch.float8_e5m2)
FIX = "the file is damaged, or of a kind that is not known: get it again from where it was made"


def layer_of(down: Tensor, up: Tensor, alpha: Tensor | float | None, where: str) -> Layer:
    """A layer of a file's tensors; without an alpha it is the rank.

    Args:
        down: (rank, in) or (rank, in, kernel, kernel).
        up: (out, rank) or (out, rank, 1, 1).
        where: the file and the layer.

    Raises:
        UserError: it is no low-rank update, or a number is not finite.
    """
    down, up = weights(down, f"{where}, down"), weights(up, f"{where}, up")
    if down.shape[0] != up.shape[1] or up[0, 0].numel() != 1:
        shapes = f"down is {_shape(down)}, up is {_shape(up)}"
        raise UserError(f"no low-rank update: {shapes}", where=where, fix=FIX)
    layer = Layer(down, up, float(down.shape[0]) if alpha is None else number(alpha, f"{where}, alpha"))
    largest = math.prod(float(factor.abs().max()) for factor in (down, up)) * abs(layer.scale) * layer.rank
    if not largest < torch.finfo(torch.float32).max:
        raise UserError(f"its change of the weight is too large for float32 ({largest:.1g})", where=where, fix=FIX)
    return layer


def weights(tensor: Tensor, where: str, dimensions: tuple[int, ...] = (2, 4)) -> Tensor:
    """A weight, or a factor of one: `tensor` itself, 8-bit floats as half precision.

    Raises:
        UserError: it has another number of dimensions, no numbers, others than floats, or one that is not finite.
    """
    if tensor.dtype not in FLOATS + EIGHT_BITS:
        raise UserError(f"it is of {_name(tensor)}, no weights", where=where, fix=FIX)
    if tensor.ndim not in dimensions or not tensor.numel():
        raise UserError(f"its shape is {_shape(tensor)}, no weight's", where=where, fix=FIX)
    tensor = tensor.half() if tensor.dtype in EIGHT_BITS else tensor
    check_finite(tensor, where=where)
    # Whatever the file holds, a weight is computed in float32 in the end.
    if tensor.dtype == torch.float64 and float(tensor.abs().max()) > torch.finfo(torch.float32).max:
        raise UserError("it holds numbers that are too large for float32", where=where, fix=FIX)
    return tensor


def number(value: Tensor | float, where: str) -> float:
    """A scalar, such as alpha.

    Raises:
        UserError: it is no single real number.
    """
    if isinstance(value, Tensor):
        if value.dtype == torch.bool or value.is_complex() or value.numel() != 1:
            raise UserError(f"it is {_shape(value)} of {_name(value)}, no number", where=where, fix=FIX)
        value = float(value.double())
    if not math.isfinite(value):
        raise UserError(f"no low-rank update: it is {value}", where=where, fix=FIX)
    return value


def _name(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"
