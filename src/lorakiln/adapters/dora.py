"""DoRA: the sum of base and change, its direction kept, its length in every row or column given by the file.

    W' = m (W + dW) / ||W + dW||

The norm is taken over all that belongs to one output (peft, diffusers, LyCORIS by default), or to one input
(OneTrainer by default, LyCORIS with wd_on_output=False); the shape of `m` tells which, also where both are as many.
dW may be of any kind that does not depend on W itself.

What is trained here is a LoRA's, by outputs: `dora_scale` (out, 1) or (out, 1, 1, 1) in kohya's form, and
`lora_magnitude_vector` in what diffusers loads. The norm has no gradient, as in the paper (section 4.3).
Sources: arXiv 2402.09353; peft, tuners/lora/dora.py; LyCORIS, functional/general.py (weight_decompose).
"""

from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from lorakiln.adapters import lora
from lorakiln.adapters.adapter import Change, Layer, Relative
from lorakiln.adapters.checks import to_weight
from lorakiln.adapters.formula import Fixed, FormulaKind, FormulaLayer, Tensors
from lorakiln.adapters.formula_tensors import pad_ranks
from lorakiln.adapters.lora_initialisation import draw_down
from lorakiln.adapters.protocol import AdapterKind, Endings, Form, Stored, find_claiming_kind, list_kinds
from lorakiln.adapters.targets import choose_alpha, choose_rank
from lorakiln.console.errors import UserError
from lorakiln.schema.adapters.dora import DoraSettings

_SCALE = "dora_scale"  # LyCORIS', whose shape tells its axis
_MAGNITUDE = "lora_magnitude_vector"  # peft's
_MAGNITUDES = (_MAGNITUDE, f"{_MAGNITUDE}.weight")
_SCALES = (_SCALE, *_MAGNITUDES)
_DOWN, _UP = "lora_down.weight", "lora_up.weight"
# LyCORIS and OneTrainer add it to the norm, which they take in float32; peft adds nothing.
EPSILON = torch.finfo(torch.float32).eps


class DoRA(FormulaKind):
    """See above. A layer's tensors are called as in kohya's form, whatever file they are from."""

    TITLE = "DoRA"
    FULL_RANK, RELATIVE = False, True
    ALGO = "lora"
    # In files with dots none is without a LoRA's tensors, which tell the file.
    ENDINGS: ClassVar[Mapping[Form, Endings]] = {
        "kohya": Endings(more=lora.ENDINGS["kohya"].all | set(_SCALES)),
        "dotted": Endings(more=lora.ENDINGS["dotted"].all | set(_SCALES)),
    }
    KEPT = frozenset(_SCALES)

    def claim(self, tensors: Tensors, form: Form) -> Set[str]:
        scale = next((ending for ending in _SCALES if ending in tensors), None)
        inner = _inner(tensors, form) if scale else None
        return inner[1] | {scale} if scale and inner else frozenset()

    def read(self, stored: Stored) -> Change:
        scale = next(ending for ending in _SCALES if ending in stored.tensors)
        found = _inner(stored.tensors, stored.form)
        if found is None:
            raise UserError("a magnitude without a change of the weight", where=stored.where)
        kind, taken = found
        inside = replace(stored, tensors={ending: stored.tensors[ending] for ending in sorted(taken)})
        magnitude = to_weight(stored.tensors[scale], f"{stored.where}, magnitude", (1, 2, 4))
        if kind is lora:
            layer = lora.read(inside)
            name = _SCALE if scale == _SCALE else _MAGNITUDE
            if name == _MAGNITUDE or len(magnitude) == magnitude.numel() == len(layer.up):
                tensors = {_DOWN: layer.down, _UP: layer.up, name: magnitude}
                return FormulaLayer(self, tensors, {"alpha": layer.alpha}, stored.where, stored.module)
        return make_dora(
            partial(_read_lora, kind, inside), kind.TITLE, magnitude, stored.where, by_output=scale != _SCALE
        )

    def change(self, tensors: Tensors, fixed: Fixed, weight: Tensor) -> Tensor:
        down, up = tensors[_DOWN], tensors[_UP]
        if len(up) != len(weight):
            raise ValueError("another number of outputs")
        scale = fixed["alpha"] / len(down)
        low = (scale * up.flatten(1) @ down.flatten(1)).reshape(weight.shape)
        magnitude = tensors[_SCALE] if _SCALE in tensors else tensors[_MAGNITUDE]
        norm = torch.linalg.vector_norm((weight + low).flatten(1), dim=1).detach()
        ratio = magnitude.flatten() / (norm + (EPSILON if _SCALE in tensors else 0.0))
        if len(ratio) != len(weight):
            raise ValueError("a magnitude for another number of outputs")
        ratio = ratio.reshape(-1, *[1] * (weight.ndim - 1))
        # m (W + dW) / ||W + dW|| - W, without the difference of two numbers that are nearly the same.
        changed: Tensor = (ratio - 1) * weight + ratio * low
        return changed

    def make(self, weight: Tensor, module: str, settings: Any, generator: torch.Generator) -> FormulaLayer:
        assert isinstance(settings, DoraSettings)
        rank, kernel = choose_rank(settings, module), weight.ndim - 2
        down = draw_down((rank, *weight.shape[1:]), settings.init, generator)
        length = torch.linalg.vector_norm(weight.detach().float().flatten(1), dim=1) + EPSILON
        tensors = {
            _DOWN: down,
            _UP: torch.zeros(weight.shape[0], rank, *[1] * kernel),
            _SCALE: length.reshape(-1, *[1] * (1 + kernel)),
        }
        return FormulaLayer(self, tensors, {"alpha": choose_alpha(settings, module)}, module=module)

    def rank_of(self, tensors: Tensors) -> int:
        return len(tensors[_DOWN])

    def shape_of(self, layer: FormulaLayer) -> tuple[int, ...]:
        return (len(layer.tensors[_UP]), *layer.tensors[_DOWN].shape[1:])

    def widen(self, given: FormulaLayer, fresh: FormulaLayer) -> FormulaLayer | None:
        magnitude = next(given.tensors[name] for name in (_SCALE, _MAGNITUDE) if name in given.tensors)
        mine = fresh.tensors[_SCALE]
        if magnitude.numel() != mine.numel():
            return None
        pair = {name: given.tensors[name] for name in (_DOWN, _UP)}
        return pad_ranks(replace(given, tensors={**pair, _SCALE: magnitude.reshape(mine.shape)}), fresh, [_UP], [_DOWN])

    def tensors(self, layer: FormulaLayer, form: Form) -> dict[str, Tensor]:
        pair = Layer(layer.tensors[_DOWN], layer.tensors[_UP], layer.fixed["alpha"])
        more = {name: tensor for name, tensor in layer.tensors.items() if name in _SCALES}
        return lora.tensors(pair, form) | more

    def config(self, layers: Mapping[str, FormulaLayer]) -> dict[str, Any]:
        return lora.config(layers) | {"use_dora": True}

    def fold(self, layer: FormulaLayer, rank: int, dtype: torch.dtype | None, where: str) -> tuple[FormulaLayer, float]:
        """As `FoldableKind` has it, with the magnitude in peft's shapes: (out,), or (1, out, 1, 1) of a convolution."""
        pair, _ = lora.fold(Layer(layer.tensors[_DOWN], layer.tensors[_UP], layer.fixed["alpha"]), rank, None, where)
        magnitude = layer.tensors[_SCALE].flatten()
        if pair.down.ndim == 4:
            magnitude = magnitude.reshape(1, -1, 1, 1)
        folded = replace(
            layer, tensors={_DOWN: pair.down, _UP: pair.up, _MAGNITUDE: magnitude}, fixed={"alpha": pair.alpha}
        )
        return self.cast(folded, dtype, where) if dtype else (folded, 0.0)

    def learns_faster(self, name: str) -> bool:
        """Whether a parameter is LoRA+'s B, by its name."""
        return name.endswith(".lora_up")

    def arguments(self, settings: DoraSettings) -> dict[str, Any]:
        ratio = {"loraplus_lr_ratio": settings.rate_ratio} if settings.rate_ratio != 1 else {}
        return {"dora_wd": True, "wd_on_output": True} | ratio


def _read_lora(kind: AdapterKind, stored: Stored) -> Layer:
    layer = kind.read(stored).low_rank()
    assert layer is not None  # only of kinds that do not depend on the weight
    return layer


def _inner(tensors: Mapping[str, Tensor], form: Form) -> tuple[AdapterKind, Set[str]] | None:
    """The kind of dW, and its tensors."""
    rest = {ending: tensor for ending, tensor in tensors.items() if ending not in _SCALES}
    return find_claiming_kind(rest, form, [kind for kind in list_kinds() if not kind.RELATIVE])


def make_dora(
    make: Callable[[], Layer], kind: str, magnitude: Tensor, where: str, *, by_output: bool = False
) -> Relative:
    """The layer `make` makes, as DoRA.

    Args:
        kind: of the layer that is made: "LoRA", "LoKr", ...
        magnitude: `m`; (out, 1, ...) or (out,) for a norm of every output's weights, (1, in, ...) for every input's.
        by_output: peft's: of every output, whatever the shape, and nothing is added to the norm.

    Raises:
        UserError: as `make` does.
    """
    layer = make()
    # The layer may be of full rank, and larger than what the file holds of it: it is made again when it is needed.
    change = partial(_change, make, magnitude.flatten() if by_output else magnitude, 0.0 if by_output else EPSILON)
    numbers = layer.parameters + magnitude.numel()
    name = DoRA.TITLE if kind == "LoRA" else f"{DoRA.TITLE} of {kind}"
    return Relative(name, change, where, numbers, layer.dtype, layer.rank, layer.alpha, layer.shape)


def _change(make: Callable[[], Layer], magnitude: Tensor, epsilon: float, weight: Tensor) -> Tensor:
    layer = make()
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


KIND = DoRA()
