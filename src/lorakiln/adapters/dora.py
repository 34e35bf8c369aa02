"""DoRA: the sum of base and change, its direction kept, its length in every row or column given by the file.

    W' = m (W + dW) / ||W + dW||

The norm is taken over all that belongs to one output (peft, diffusers, LyCORIS by default), or to one input
(OneTrainer by default, LyCORIS with wd_on_output=False); the shape of `m` tells which, also where both are as many.
dW may be of any kind that does not depend on W itself.
Sources: arXiv 2402.09353; peft, tuners/lora/dora.py; LyCORIS, functional/general.py (weight_decompose).
"""

from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from lorakiln.adapters.adapter import Change, Relative
from lorakiln.adapters.checks import to_weight
from lorakiln.adapters.protocol import AdapterKind, Endings, Form, Stored, find_claiming_kind, list_kinds
from lorakiln.console.errors import UserError

TITLE = "DoRA"
FULL_RANK, RELATIVE = False, True
_SCALE = "dora_scale"  # LyCORIS', whose shape tells its axis
_MAGNITUDES = ("lora_magnitude_vector", "lora_magnitude_vector.weight")  # peft's
_SCALES = (_SCALE, *_MAGNITUDES)
# In files with dots none is without a LoRA's tensors, which tell the file.
ENDINGS: Mapping[Form, Endings] = dict.fromkeys(("kohya", "dotted"), Endings(more=frozenset(_SCALES)))
# LyCORIS and OneTrainer add it to the norm, which they take in float32; peft adds nothing.
EPSILON = torch.finfo(torch.float32).eps


def claim(tensors: Mapping[str, Tensor], form: Form) -> Set[str]:
    scale = next((ending for ending in _SCALES if ending in tensors), None)
    inner = _inner(tensors, form) if scale else None
    return inner[1] | {scale} if scale and inner else frozenset()


def read(stored: Stored) -> Relative:
    scale = next(ending for ending in _SCALES if ending in stored.tensors)
    found = _inner(stored.tensors, stored.form)
    if found is None:
        raise UserError("a magnitude without a change of the weight", where=stored.where)
    kind, taken = found
    inside = replace(stored, tensors={ending: stored.tensors[ending] for ending in sorted(taken)})
    return make_dora(
        partial(kind.read, inside), kind.TITLE, stored.tensors[scale], stored.where, by_output=scale != _SCALE
    )


def _inner(tensors: Mapping[str, Tensor], form: Form) -> tuple[AdapterKind, Set[str]] | None:
    """The kind of dW, and its tensors."""
    rest = {ending: tensor for ending, tensor in tensors.items() if ending not in _SCALES}
    return find_claiming_kind(rest, form, [kind for kind in list_kinds() if not kind.RELATIVE])


def make_dora(
    make: Callable[[], Change], kind: str, magnitude: Tensor, where: str, *, by_output: bool = False
) -> Relative:
    """The layer `make` makes, as DoRA.

    Args:
        kind: of the layer that is made: "LoRA", "LoKr", ...
        magnitude: `m`; (out, 1, ...) or (out,) for a norm of every output's weights, (1, in, ...) for every input's.
        by_output: peft's: of every output, whatever the shape, and nothing is added to the norm.

    Raises:
        UserError: as `make` does, or the magnitude holds other things than finite numbers.
    """
    magnitude = to_weight(magnitude, f"{where}, magnitude", (1, 2, 4))
    layer = make()
    # The layer may be of full rank, and larger than what the file holds of it: it is made again when it is needed.
    change = partial(_change, make, magnitude.flatten() if by_output else magnitude, 0.0 if by_output else EPSILON)
    numbers = layer.parameters + magnitude.numel()
    name = TITLE if kind == "LoRA" else f"{TITLE} of {kind}"
    return Relative(name, change, where, numbers, layer.dtype, layer.rank, layer.alpha, layer.shape)


def _change(make: Callable[[], Change], magnitude: Tensor, epsilon: float, weight: Tensor) -> Tensor:
    layer = make()
    assert layer.shape is not None  # only a relative layer may not tell it, and this is none
    if layer.shape[0] != weight.shape[0]:
        raise ValueError("another number of outputs")
    whole = weight + layer.change_of(weight)
    kept = _axis(magnitude, weight)
    others = [axis for axis in range(weight.ndim) if axis != kept]
    norm: Tensor = torch.linalg.vector_norm(whole, dim=others, keepdim=True) + epsilon
    return whole * (magnitude.float().reshape(norm.shape) / norm) - weight


def _axis(magnitude: Tensor, weight: Tensor) -> int:
    """That of `weight` along which the magnitude has a number each."""
    for axis in (0, 1):
        along = magnitude.shape[axis] if axis < magnitude.ndim else 0
        if along == magnitude.numel() == weight.shape[axis]:
            return axis
    raise ValueError("a magnitude for another number of outputs and inputs")
