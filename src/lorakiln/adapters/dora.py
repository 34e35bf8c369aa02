"""DoRA: the sum of base and change, its direction kept, its length in every row or column given by the file.

    W' = m (W + dW) / ||W + dW||

The norm is taken over all that belongs to one output (peft, diffusers, LyCORIS by default), or to one input
(OneTrainer by default, LyCORIS with wd_on_output=False); the shape of `m` tells which, also where both are as many.
Sources: arXiv 2402.09353; peft, tuners/lora/dora.py; LyCORIS, functional/general.py (weight_decompose).
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from lorakiln.lora_files.adapter import Layer, Relative
from lorakiln.lora_files.checks import weights

DORA = "DoRA"
# LyCORIS and OneTrainer add it to the norm, which they take in float32; peft adds nothing.
EPSILON = torch.finfo(torch.float32).eps


def dora(make: Callable[[], Layer], kind: str, magnitude: Tensor, where: str, *, by_output: bool = False) -> Relative:
    """The layer `make` makes, as DoRA.

    Args:
        kind: of the layer that is made: "LoRA", "LoKr", ...
        magnitude: `m`; (out, 1, ...) or (out,) for a norm of every output's weights, (1, in, ...) for every input's.
        by_output: peft's: of every output, whatever the shape, and nothing is added to the norm.

    Raises:
        UserError: as `make` does, or the magnitude holds other things than finite numbers.
    """
    magnitude = weights(magnitude, f"{where}, magnitude", (1, 2, 4))
    layer = make()
    # The layer may be of full rank, and larger than what the file holds of it: it is made again when it is needed.
    change = partial(_change, make, magnitude.flatten() if by_output else magnitude, 0.0 if by_output else EPSILON)
    numbers = layer.parameters + magnitude.numel()
    name = DORA if kind == "LoRA" else f"{DORA} of {kind}"
    return Relative(name, change, where, numbers, layer.dtype, layer.rank, layer.alpha, layer.shape)


def _change(make: Callable[[], Layer], magnitude: Tensor, epsilon: float, weight: Tensor) -> Tensor:
    layer = make()
    if layer.shape[0] != weight.shape[0]:
        raise ValueError("another number of outputs")
    whole = weight + layer.change_of(weight)
    kept = _axis(magnitude, weight)
    others = [axis for axis in range(weight.ndim) if axis != kept]
    norm = torch.linalg.vector_norm(whole, dim=others, keepdim=True) + epsilon
    return whole * (magnitude.float().reshape(norm.shape) / norm) - weight


def _axis(magnitude: Tensor, weight: Tensor) -> int:
    """That of `weight` along which the magnitude has a number each."""
    for axis in (0, 1):
        along = magnitude.shape[axis] if axis < magnitude.ndim else 0
        if along == magnitude.numel() == weight.shape[axis]:
            return axis
    raise ValueError("a magnitude for another number of outputs and inputs")
