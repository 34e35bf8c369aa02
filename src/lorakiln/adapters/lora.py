"""A LoRA on a network in memory: peft's layers, with an initialisation that does not touch the global generator."""

import math
from collections.abc import Sequence

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from lorakiln.console.errors import UserError
from lorakiln.lora_files.adapter import Adapter, Layer

NAME = "default"


def wrap(network: nn.Module, modules: Sequence[str], rank: int, alpha: float, dropout: float, seed: int) -> nn.Module:
    """Put a fresh LoRA on exactly the named modules, in place.

    A is drawn from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), as torch draws a linear layer's weight, and B is zero, so
    that the network computes what it did before, bit for bit. The draw depends on the seed and the modules' sorted
    names alone: it is the same in every process. Only the adapter's parameters, all float32, take gradients.

    Args:
        modules: full names of linear layers or convolutions of `network`.
        alpha: the update is scaled by alpha / rank.

    Returns:
        `network` itself.
    """
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=list(modules))
    # peft draws its own A from the global generator first.
    with torch.random.fork_rng(devices=[]):
        inject_adapter_in_model(config, network, adapter_name=NAME)
    layers = lora_layers(network)
    if set(layers) != set(modules):
        wrong = sorted(set(layers) ^ set(modules))
        raise ValueError(f"peft adapted other modules than asked for: {wrong[:5]}")
    generator = torch.Generator().manual_seed(seed)
    for name in sorted(layers):
        _initialise(layers[name], generator)
    return network


def _initialise(layer: LoraLayer, generator: torch.Generator) -> None:
    for part in (layer.lora_A[NAME], layer.lora_B[NAME]):
        part.float()
    down = layer.lora_A[NAME].weight
    bound = 1 / math.sqrt(down[0].numel())
    drawn = torch.empty(down.shape).uniform_(-bound, bound, generator=generator)
    with torch.no_grad():
        down.copy_(drawn)
        layer.lora_B[NAME].weight.zero_()


def lora_layers(network: nn.Module) -> dict[str, LoraLayer]:
    """The adapted modules of `network` by their full names."""
    return {name: module for name, module in network.named_modules() if isinstance(module, LoraLayer)}


def read(network: nn.Module, part: str = "unet") -> Adapter:
    """A copy of the LoRA's present weights, on the CPU, float32, with `part` in front of the modules' names."""
    return Adapter(
        {
            f"{part}.{name}": Layer(
                _copy(layer.lora_A[NAME].weight), _copy(layer.lora_B[NAME].weight), float(layer.lora_alpha[NAME])
            )
            for name, layer in lora_layers(network).items()
        }
    )


def _copy(weight: torch.Tensor) -> torch.Tensor:
    return weight.detach().to("cpu", torch.float32, copy=True)


def write(network: nn.Module, adapter: Adapter, part: str = "unet") -> None:
    """Put the weights of `adapter` into a network that `wrap` has prepared; each layer's own scale is kept.

    Raises:
        UserError: the modules or the shapes differ.
    """
    layers = lora_layers(network)
    given = {name.removeprefix(f"{part}."): layer for name, layer in adapter.layers.items()}
    if wrong := sorted(set(layers) ^ set(given)):
        raise UserError(f"the LoRA's modules differ from the network's: {', '.join(wrong[:3])}, ...")
    for name, layer in layers.items():
        down, up = layer.lora_A[NAME].weight, layer.lora_B[NAME].weight
        if _bare(given[name].down) != _bare(down) or _bare(given[name].up) != _bare(up):
            shapes = f"{tuple(given[name].down.shape)} is not {tuple(down.shape)}"
            raise UserError(f"{name}: {shapes}", fix="use the base model that the LoRA was trained on, and its rank")
        with torch.no_grad():
            down.copy_(given[name].down.reshape(down.shape))
            up.copy_(given[name].up.reshape(up.shape))
        layer.lora_alpha[NAME] = given[name].alpha
        layer.set_scale(NAME, 1.0)


def _bare(factor: torch.Tensor) -> tuple[int, ...]:
    """Its shape; a 1x1 convolution's may be stored as a matrix."""
    shape = tuple(factor.shape)
    return shape[:2] if shape[2:] == (1, 1) else shape
