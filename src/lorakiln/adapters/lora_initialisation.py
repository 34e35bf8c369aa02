"""What a pair of factors on a network begins with; see `lora_network.wrap`."""

import math
from typing import Any

import torch
from torch import Tensor

from lorakiln.adapters.checks import format_shape
from lorakiln.console.errors import UserError

NAME = "default"  # of the adapter on a network, which peft allows several of
FIRST = "first"  # of the factors that one began with, which are taken off
FROM_WEIGHTS = ("pissa", "olora")


def draw_factors(layer: Any, init: str, generator: torch.Generator) -> None:
    """Let A be drawn and B zero, in place; `layer` is peft's."""
    for part in (layer.lora_A[NAME], layer.lora_B[NAME]):
        part.float()
    down = layer.lora_A[NAME].weight
    with torch.no_grad():
        down.copy_(draw_down(tuple(down.shape), init, generator))
        layer.lora_B[NAME].weight.zero_()


def draw_down(shape: tuple[int, ...], init: str, generator: torch.Generator) -> Tensor:
    """A, (rank, in, ...), as `lora_network.wrap` says."""
    if init == "gaussian":
        return torch.randn(shape, generator=generator) / shape[0]
    bound = 1 / math.sqrt(math.prod(shape[1:]))
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


def begin_with_weight(layer: Any, init: str, name: str) -> None:
    """Let both pairs of factors be those of the weight, and count the second against the first.

    Args:
        init: "pissa" or "olora".
        name: the module's, for the message.

    Raises:
        UserError: the weight is smaller than the rank.
    """
    weight = layer.get_base_layer().weight.detach().float().flatten(1)
    rank, scale = layer.r[NAME], layer.scaling[NAME]
    if rank > min(weight.shape):
        what = f"{name} has a weight of {format_shape(weight)}, which has not {rank} ranks for {init} to begin with"
        raise UserError(what, where="train.adapter.rank", fix=f"set train.adapter.rank={min(weight.shape)} or less")
    if init == "pissa":
        left, values, right = torch.linalg.svd(weight, full_matrices=False)
        root = (values[:rank] / scale).sqrt()
        first_up, first_down = left[:, :rank] * root, root[:, None] * right[:rank]
    else:
        left, right = torch.linalg.qr(weight)
        first_up, first_down = left[:, :rank], right[:rank]
    with torch.no_grad():
        for adapter in (NAME, FIRST):
            for part, first in ((layer.lora_A[adapter], first_down), (layer.lora_B[adapter], first_up)):
                # Where memory is counted, peft leaves a second pair on the CPU.
                part.to(weight.device, torch.float32)
                part.weight.copy_(first.reshape(part.weight.shape))
    layer.set_adapter([NAME, FIRST])
    layer.set_scale(FIRST, -1.0)
    for part in (layer.lora_A[FIRST], layer.lora_B[FIRST]):
        part.requires_grad_(False)
