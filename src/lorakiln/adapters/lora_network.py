"""LoRA on a network: peft's layers, with an initialisation that does not touch the global generator.

A is `down` and B is `up`. What is here serves every kind whose layers on a network are LoRA's.
"""

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lorakiln.adapters.adapter import Layer
from lorakiln.adapters.lora_initialisation import FIRST, FROM_WEIGHTS, NAME, begin_with_weight, draw_factors
from lorakiln.adapters.targets import choose_alpha, choose_rank
from lorakiln.console.errors import UserError
from lorakiln.families.shapes import is_same_matrix
from lorakiln.schema.adapters import PairSettings


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
    from peft import inject_adapter_in_model

    from lorakiln.adapters.lora_product import multiply_at_once

    config = _make_config(modules, rank, alpha, dropout, ranks or {}, alphas or {})
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
        multiply_at_once(layers[name])
    return network


def _make_config(
    modules: Sequence[str],
    rank: int,
    alpha: float,
    dropout: float,
    ranks: Mapping[str, int],
    alphas: Mapping[str, float],
) -> Any:
    """peft's LoraConfig; see `wrap`."""
    from peft import LoraConfig

    # peft divides by the rank whatever number it is given.
    scale: Any = alpha
    # It takes names for regular expressions, and the first that fits the end of a name.
    longest = sorted(modules, key=lambda name: (-len(name), name))
    patterns: dict[str, Any] = {
        "rank_pattern": {re.escape(name): ranks[name] for name in longest if ranks.get(name, rank) != rank},
        "alpha_pattern": {re.escape(name): alphas[name] for name in longest if alphas.get(name, alpha) != alpha},
    }
    return LoraConfig(r=rank, lora_alpha=scale, lora_dropout=dropout, target_modules=list(modules), **patterns)


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


def list_frozen(network: nn.Module) -> dict[str, Tensor]:
    """What is beside the trained weights and was drawn or computed when they began: the factors that are taken off."""
    return {
        f"{name}.{part}": getattr(layer, part)[FIRST].weight
        for name, layer in layers_on(network).items()
        if FIRST in layer.lora_A
        for part in ("lora_A", "lora_B")
    }


def clip_norms(network: nn.Module, most: float) -> None:
    """Scale every change that is larger than `most`, Frobenius, down to it, in place, both factors alike."""
    layers = layers_on(network)
    with torch.no_grad():
        for name, square in compute_squared_norms(network).items():
            factor = (most / square.clamp_min(1e-24).sqrt()).clamp(max=1.0).sqrt()
            for part in (layers[name].lora_A, layers[name].lora_B):
                part[NAME].weight.mul_(factor)


def learns_faster(name: str) -> bool:
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


def compute_squared_norms(network: nn.Module) -> dict[str, Tensor]:
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


def prepare_for_autocast(network: nn.Module) -> None:
    """Autocast turns what a layer takes into half precision; peft would first make a float32 copy, for nothing."""
    for layer in layers_on(network).values():
        layer.cast_input_dtype_enabled = False


@contextmanager
def at_weight(network: nn.Module, weight: float) -> Iterator[None]:
    scales = {layer: layer.scaling[NAME] for layer in layers_on(network).values()}
    for layer, scale in scales.items():
        layer.scaling[NAME] = scale * weight
    try:
        yield
    finally:
        for layer, scale in scales.items():
            layer.scaling[NAME] = scale
