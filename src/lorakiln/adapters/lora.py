"""LoRA (arXiv 2106.09685): delta W = (alpha / rank) * up @ down.

On a network it is peft's (`lora_network.py`). In files kohya's have the alpha beside them as a tensor, diffusers' and
peft's in a config.
"""

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lorakiln.adapters import lora_network, low_rank
from lorakiln.adapters.adapter import Change, Layer
from lorakiln.adapters.checks import FIX, format_shape, to_number, to_weight
from lorakiln.adapters.lora_initialisation import FROM_WEIGHTS
from lorakiln.adapters.peft_config import find_alpha
from lorakiln.adapters.protocol import Endings, Form, StartingPoint, Stored
from lorakiln.console.errors import UserError
from lorakiln.facts.run import RunFacts
from lorakiln.schema.adapters import AdapterSettings, PairSettings

TITLE = Layer.kind
FULL_RANK, RELATIVE = False, False
MODULE = "networks.lora"  # sd-scripts' own

# What the protocols ask for and others define.
layers_on, read_from, write_to = lora_network.layers_on, lora_network.read_from, lora_network.write_to
compute_squared_norms, clip_norms, prepare_for_autocast = (
    lora_network.compute_squared_norms,
    lora_network.clip_norms,
    lora_network.prepare_for_autocast,
)
list_frozen, learns_faster, at_weight = lora_network.list_frozen, lora_network.learns_faster, lora_network.at_weight
cast, fold, compute_norms = low_rank.cast, low_rank.fold, low_rank.compute_norms

_A, _B = "lora_A.weight", "lora_B.weight"
# down -> up, in kohya's files; in diffusers' and peft's, of now and of before; in cloneofsimo's, which are numbered.
_PAIRS: Mapping[Form, Mapping[str, str]] = {
    "kohya": {"lora_down.weight": "lora_up.weight"},
    "dotted": {
        _A: _B,
        "lora.down.weight": "lora.up.weight",
        "lora_linear_layer.down.weight": "lora_linear_layer.up.weight",
        "lora_down.weight": "lora_up.weight",
        "down.weight": "up.weight",
    },
    "numbered": {"down": "up"},
}
ENDINGS: Mapping[Form, Endings] = {
    form: Endings(frozenset(pairs), frozenset({*pairs.values(), "alpha"})) for form, pairs in _PAIRS.items()
}


def claim(tensors: Mapping[str, Tensor], form: Form) -> Set[str]:
    for down, up in _PAIRS[form].items():
        if {down, up} <= tensors.keys():
            return {down, up, "alpha"} & tensors.keys()
    return frozenset()


def read(stored: Stored) -> Layer:
    down, up = next((down, up) for down, up in _PAIRS[stored.form].items() if {down, up} <= stored.tensors.keys())
    given: Tensor | float | None = stored.tensors.get("alpha")
    if given is None and stored.form == "dotted":
        first = stored.tensors[down]
        given = find_alpha(stored.config, stored.module, len(first) if first.ndim else 1, stored.path)
    return make_layer(stored.tensors[down], stored.tensors[up], given, stored.where)


def make_layer(down: Tensor, up: Tensor, alpha: Tensor | float | None, where: str) -> Layer:
    """A layer of a file's tensors; without an alpha it is the rank.

    Args:
        down: (rank, in) or (rank, in, kernel, kernel).
        up: (out, rank) or (out, rank, 1, 1).
        where: the file and the layer.

    Raises:
        UserError: it is no low-rank update, or a number is not finite.
    """
    down, up = to_weight(down, f"{where}, down"), to_weight(up, f"{where}, up")
    if down.shape[0] != up.shape[1] or up[0, 0].numel() != 1:
        shapes = f"down is {format_shape(down)}, up is {format_shape(up)}"
        raise UserError(f"no low-rank update: {shapes}", where=where, fix=FIX)
    layer = Layer(down, up, float(down.shape[0]) if alpha is None else to_number(alpha, f"{where}, alpha"))
    largest = math.prod(float(factor.abs().max()) for factor in (down, up)) * abs(layer.scale) * layer.rank
    if not largest < torch.finfo(torch.float32).max:
        raise UserError(f"its change of the weight is too large for float32 ({largest:.1g})", where=where, fix=FIX)
    return layer


def put_on(network: nn.Module, modules: Sequence[str], settings: PairSettings, seed: int) -> None:
    lora_network.put_pairs(network, modules, settings, seed)


def start_from(begun: StartingPoint, fresh: Mapping[str, Layer], settings: AdapterSettings) -> dict[str, Layer]:
    """Layers of the settings' rank that change every weight as the file's do, of whatever kind these are.

    Modules that the file leaves alone begin fresh, and so do the ranks that it lacks: their `up` is 0.

    Raises:
        UserError: a change is of no low rank, or of a higher one than the settings'.
    """
    given = {name: low for name, layer in begun.layers.items() if (low := layer.low_rank())}
    relative = {layer.kind for layer in begun.layers.values() if layer.low_rank() is None}
    file = shlex.quote(str(settings.init_from))
    if full := sorted(begun.full_rank | relative):
        command = f"lorakiln convert {file} lora.safetensors --rank {settings.rank}"
        raise UserError(
            f"its layers are {' and '.join(full)}, whose changes of the weights are of no low rank",
            where=settings.init_from,
            fix=f"{command}{f' --base {shlex.quote(begun.base)}' if relative else ''} says what is lost; "
            "go on from that",
        )
    if higher := [layer.rank for name, layer in given.items() if layer.rank > fresh[name].rank]:
        largest = max(higher)
        smaller = f"`lorakiln resize {file} lora.safetensors --rank {settings.rank}`"
        raise UserError(
            f"its rank is {largest}, the settings' {settings.rank}",
            where=settings.init_from,
            fix=f"set train.adapter.rank={largest}, or cut it down: {smaller}",
        )
    return {name: _widened(given.get(name), layer) for name, layer in fresh.items()}


def _widened(given: Layer | None, fresh: Layer) -> Layer:
    if given is None:
        return fresh
    down, up = fresh.down.clone(), fresh.up.clone()
    if given.down[0].numel() != down[0].numel() or given.up.shape[0] != up.shape[0]:
        return given  # another base model's; told by `write_to`
    # A 1x1 convolution may come as a linear layer. What the file does is kept where its scale differs: the ratio of
    # the scales goes into `up`.
    down[: given.rank] = given.down.float().view(given.rank, *down.shape[1:])
    up[:, : given.rank] = given.up.float().view(-1, given.rank, *up.shape[2:]) * (given.scale / fresh.scale)
    return Layer(down, up, fresh.alpha)


def scale(layer: Layer, strength: float) -> Layer:
    return replace(layer, alpha=layer.alpha * strength)


def tensors(layer: Layer, form: Form) -> dict[str, Tensor]:
    if form == "dotted":
        return {_A: layer.down, _B: layer.up}
    return {"lora_down.weight": layer.down, "lora_up.weight": layer.up, "alpha": _alpha(layer.alpha, layer.dtype)}


def _alpha(alpha: float, dtype: torch.dtype) -> Tensor:
    """In the weights' dtype, or in float32 where that has not this number: 257 is 256 in bfloat16."""
    rounded = torch.tensor(alpha, dtype=dtype)
    single = torch.tensor(alpha, dtype=torch.float32)
    return rounded if rounded.double() == single.double() else single


def config(layers: Mapping[str, Change]) -> dict[str, Any]:
    """peft's LoraConfig for layers by their modules; ranks and alphas that differ are patterns."""
    rank = Counter(layer.rank for layer in layers.values()).most_common(1)[0][0]
    alpha = Counter(layer.alpha for layer in layers.values()).most_common(1)[0][0]
    return {
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": sorted(layers),
        "rank_pattern": {name: layer.rank for name, layer in layers.items() if layer.rank != rank},
        "alpha_pattern": {name: layer.alpha for name, layer in layers.items() if layer.alpha != alpha},
        "lora_dropout": 0.0,
        "bias": "none",
        "use_dora": False,
        "use_rslora": False,
        "peft_type": "LORA",
    }


def metadata(facts: RunFacts, settings: PairSettings) -> dict[str, Any]:
    # What began with the weight's factors is of twice the rank in the file, as `_read` has it.
    times = 2 if settings.init in FROM_WEIGHTS else 1
    rank, alpha = times * facts.rank, times * facts.alpha
    # As one gives them to sd-scripts, strings: its network adapts larger convolutions (LoCon) where these are set.
    args = {"conv_dim": rank, "conv_alpha": alpha} if facts.convolutions else {}
    ratio = None if settings.rate_ratio == 1 else settings.rate_ratio
    more = {
        "rank_dropout": settings.rank_dropout,
        "module_dropout": settings.module_dropout,
        "loraplus_lr_ratio": ratio,
    }
    return {
        "ss_network_module": MODULE,
        "ss_network_dim": rank,
        "ss_network_alpha": alpha,
        "ss_network_dropout": settings.dropout or None,
        "ss_network_args": {key: str(value) for key, value in (args | more).items() if value},
        **({"ss_scale_weight_norms": settings.max_norm} if settings.max_norm else {}),
    }
