"""LoRA (arXiv 2106.09685): delta W = (alpha / rank) * up @ down.

On a network it is peft's, with an initialisation that does not touch the global generator: A is `down`, B is `up`. In
files kohya's have the alpha beside them as a tensor, diffusers' and peft's in a config.
"""

import math
import re
import shlex
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lorakiln.adapters.adapter import Change, Layer
from lorakiln.adapters.checks import FIX, format_shape, to_number, to_weight
from lorakiln.adapters.lora_starts import FIRST, FROM_WEIGHTS, NAME, begin_with_weight, draw_factors
from lorakiln.adapters.low_rank import cast as cast  # the kind's, under the names that every kind has
from lorakiln.adapters.low_rank import fold as fold
from lorakiln.adapters.low_rank import norms as norms
from lorakiln.adapters.peft_config import find_alpha
from lorakiln.adapters.protocol import Endings, Form, StartingPoint, Stored
from lorakiln.adapters.targets import choose_alpha, choose_rank
from lorakiln.console.errors import UserError
from lorakiln.facts import RunFacts
from lorakiln.families.shapes import is_same_matrix
from lorakiln.schema.adapters import AdapterSettings, PairSettings

TITLE = Layer.kind
FULL_RANK, RELATIVE = False, False
MODULE = "networks.lora"  # sd-scripts' own

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
    put_pairs(network, modules, settings, seed)


def put_pairs(
    network: nn.Module,
    modules: Sequence[str],
    settings: PairSettings,
    seed: int,
    alpha_of: Callable[[float, int], float] = lambda alpha, rank: alpha,
) -> None:
    """What the settings describe.

    Args:
        alpha_of: of the settings' alpha and a rank: LoRA's alpha.
    """
    ranks = {name: choose_rank(settings, name) for name in modules}
    alphas = {name: alpha_of(choose_alpha(settings, name), rank) for name, rank in ranks.items()}
    rank, alpha = settings.rank, alpha_of(settings.alpha, settings.rank)
    wrap(network, modules, rank, alpha, settings.dropout, seed, ranks=ranks, alphas=alphas, init=settings.init)
    for layer in layers_on(network).values():
        if settings.rank_dropout:
            layer.lora_A[NAME].register_forward_hook(partial(_drop_ranks, settings.rank_dropout))
        if settings.module_dropout:
            layer.lora_B[NAME].register_forward_hook(partial(_drop_all, settings.module_dropout))


def wrap(
    network: nn.Module,
    modules: Sequence[str],
    rank: int,
    alpha: float,
    dropout: float,
    seed: int,
    *,
    ranks: Mapping[str, int] | None = None,
    alphas: Mapping[str, float] | None = None,
    init: str = "kaiming",
) -> nn.Module:
    """Put a fresh LoRA on exactly the named modules, in place.

    A is drawn from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), as torch draws a linear layer's weight ("kaiming"), or from
    N(0, 1/rank) ("gaussian", as peft), and B is zero, so that the network computes what it did before, bit for bit.
    The draw depends on the seed and the modules' sorted names alone: it is the same in every process. Only the
    adapter's parameters, all float32, take gradients.

    "pissa" (arXiv 2404.02948) and "olora" (arXiv 2406.01775) begin with factors of the weight itself, A0 and B0: the
    largest singular values' directions, or the first of its QR decomposition. The base stays as it is, and the first
    factors are taken off beside it, never trained: W + s (B A - B0 A0). The change is then of twice the rank.

    Args:
        modules: full names of linear layers or convolutions of `network`.
        alpha: the update is scaled by alpha / rank.
        ranks, alphas: of modules that have others than `rank` and `alpha`.

    Raises:
        UserError: a weight is smaller than the rank that "pissa" or "olora" are to take from it.

    Returns:
        `network` itself.
    """
    from peft import LoraConfig, inject_adapter_in_model

    # peft divides by the rank whatever number it is given.
    scale: Any = alpha
    # It takes names for regular expressions, and the first that fits the end of a name.
    longest = sorted(modules, key=lambda name: (-len(name), name))
    given: dict[str, Any] = {
        "rank_pattern": {re.escape(name): ranks[name] for name in longest if ranks[name] != rank} if ranks else {},
        "alpha_pattern": {re.escape(name): alphas[name] for name in longest if alphas[name] != alpha} if alphas else {},
    }
    config = LoraConfig(r=rank, lora_alpha=scale, lora_dropout=dropout, target_modules=list(modules), **given)
    # peft draws its own A from the global generator first.
    with torch.random.fork_rng(devices=[]):
        inject_adapter_in_model(config, network, adapter_name=NAME)
        if init in FROM_WEIGHTS:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Already found a `peft_config`")  # two are meant here
                inject_adapter_in_model(replace(config, lora_dropout=0.0), network, adapter_name=FIRST)
    layers = layers_on(network)
    if set(layers) != set(modules):
        wrong = sorted(set(layers) ^ set(modules))
        raise ValueError(f"peft adapted other modules than asked for: {wrong[:5]}")
    generator = torch.Generator().manual_seed(seed)
    for name in sorted(layers):
        if init in FROM_WEIGHTS:
            begin_with_weight(layers[name], init, name)
        else:
            draw_factors(layers[name], init, generator)
    return network


def _drop_ranks(share: float, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    """Ranks of each picture, while it trains, as sd-scripts does: what is left is larger, so that the mean stays."""
    if not module.training:
        return output
    rank = output.shape[1] if isinstance(module, nn.Conv2d) else output.shape[-1]
    shape = [len(output), *[1] * (output.ndim - 1)]
    shape[1 if isinstance(module, nn.Conv2d) else -1] = rank
    return output * (torch.rand(shape, device=output.device) >= share) / (1 - share)


def _drop_all(share: float, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    """The module's whole change, of all pictures, while it trains."""
    return output * (torch.rand((), device=output.device) >= share) if module.training else output


def fixed(network: nn.Module) -> dict[str, Tensor]:
    """What is beside the trained weights and was drawn or computed when they began: the factors that are taken off."""
    return {
        f"{name}.{part}": getattr(layer, part)[FIRST].weight
        for name, layer in layers_on(network).items()
        if FIRST in layer.lora_A
        for part in ("lora_A", "lora_B")
    }


def limit(network: nn.Module, most: float) -> None:
    """Scale every change that is larger than `most`, Frobenius, down to it, in place, both factors alike."""
    layers = layers_on(network)
    with torch.no_grad():
        for name, square in squares(network).items():
            factor = (most / square.clamp_min(1e-24).sqrt()).clamp(max=1.0).sqrt()
            for part in (layers[name].lora_A, layers[name].lora_B):
                part[NAME].weight.mul_(factor)


def faster(name: str) -> bool:
    """Whether a parameter is LoRA+'s B (arXiv 2402.12354), by its name."""
    return f".lora_B.{NAME}." in name


def layers_on(network: nn.Module) -> dict[str, Any]:
    from peft.tuners.lora import LoraLayer

    return {name: module for name, module in network.named_modules() if isinstance(module, LoraLayer)}


def read_from(network: nn.Module) -> dict[str, Layer]:
    return {name: _read(layer) for name, layer in layers_on(network).items()}


def _read(layer: Any) -> Layer:
    down, up = _factors(layer)
    # s (B A - B0 A0) is one LoRA of twice the rank, with the same scale.
    return Layer(_copy(down), _copy(up), float(layer.lora_alpha[NAME]) * (len(down) // layer.r[NAME]))


def _copy(weight: Tensor) -> Tensor:
    return weight.detach().to("cpu", torch.float32, copy=True)


def write_to(network: nn.Module, layers: Mapping[str, Layer]) -> None:
    """Put weights into the adapter that is on `network`; each layer's own scale is kept.

    Raises:
        UserError: the modules or the shapes differ.
    """
    there = layers_on(network)
    if wrong := sorted(set(there) ^ set(layers)):
        raise UserError(f"the LoRA's modules differ from the network's: {', '.join(wrong[:3])}, ...")
    for name, layer in there.items():
        down, up, given = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight, layers[name]
        if FIRST in layer.lora_A:
            given = _take_first_off(layer, given, name)
        if not (is_same_matrix(given.down.shape, down.shape) and is_same_matrix(given.up.shape, up.shape)):
            shapes = f"{tuple(given.down.shape)} is not {tuple(down.shape)}"
            raise UserError(f"{name}: {shapes}", fix="use the base model that the LoRA was trained on, and its rank")
        with torch.no_grad():
            down.copy_(given.down.reshape(down.shape))
            up.copy_(given.up.reshape(up.shape))
        layer.lora_alpha[NAME] = given.alpha
        layer.set_scale(NAME, 1.0)


def _take_first_off(layer: Any, given: Layer, name: str) -> Layer:
    """The trained half of what `_read` gives."""
    rank = layer.r[NAME]
    pairs = ((given.down[rank:], layer.lora_A[FIRST].weight), (-given.up[:, rank:], layer.lora_B[FIRST].weight))
    if not all(
        is_same_matrix(one.shape, first.shape) and torch.equal(_copy(one), _copy(first).reshape(one.shape))
        for one, first in pairs
    ):
        what = f"{name}: it begins with other factors of the weight"
        raise UserError(what, fix="use the base model that the LoRA was trained on, and its rank")
    return Layer(given.down[:rank], given.up[:, :rank], given.alpha / 2)


def go_on(begun: StartingPoint, fresh: Mapping[str, Layer], settings: AdapterSettings) -> dict[str, Layer]:
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


def squares(network: nn.Module) -> dict[str, Tensor]:
    """||B A||^2 is the sum of (B^T B) * (A A^T), matrices as small as the rank: the change itself is not made."""
    found = {}
    for name, layer in layers_on(network).items():
        down, up = (part.float().flatten(1) for part in _factors(layer))
        found[name] = ((up.T @ up) * (down @ down.T)).sum() * layer.scaling[NAME] ** 2
    return found


def _factors(layer: Any) -> tuple[Tensor, Tensor]:
    """A and B, those that are taken off included, with the sign in B."""
    down, up = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight
    if FIRST not in layer.lora_A:
        return down, up
    return torch.cat([down, layer.lora_A[FIRST].weight]), torch.cat([up, -layer.lora_B[FIRST].weight], 1)


def take_half(network: nn.Module) -> None:
    """Autocast turns what a layer takes into half precision; peft would first make a float32 copy, for nothing."""
    for layer in layers_on(network).values():
        layer.cast_input_dtype_enabled = False


@contextmanager
def weighted(network: nn.Module, weight: float) -> Iterator[None]:
    scales = {layer: layer.scaling[NAME] for layer in layers_on(network).values()}
    for layer, scale in scales.items():
        layer.scaling[NAME] = scale * weight
    try:
        yield
    finally:
        for layer, scale in scales.items():
            layer.scaling[NAME] = scale


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
