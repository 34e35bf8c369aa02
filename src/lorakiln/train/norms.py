"""How much an adapter changes each part of the network."""

import torch
from torch import Tensor, nn

from lorakiln.lora_files.peft_form import NAME, lora_layers


@torch.no_grad()
def lora_norms(network: nn.Module) -> dict[str, float]:
    """The Frobenius norm of the weight change, alpha / rank included, by block: {"lora_norm/up_blocks.1": 0.3, ...}.

    ||B A||^2 is the sum of (B^T B) * (A A^T), matrices as small as the rank: the change itself is not made.
    """
    squares: dict[str, Tensor] = {}
    for name, layer in lora_layers(network).items():
        parts = name.split(".")
        block = ".".join(parts[:2]) if parts[0] in ("down_blocks", "up_blocks") else parts[0]
        down = layer.lora_A[NAME].weight.float().flatten(1)
        up = layer.lora_B[NAME].weight.float().flatten(1)
        square = ((up.T @ up) * (down @ down.T)).sum() * layer.scaling[NAME] ** 2
        squares[block] = squares.get(block, 0.0) + square
    values = torch.stack(list(squares.values())).clamp_min(0).sqrt().tolist()
    return {f"lora_norm/{block}": value for block, value in zip(squares, values, strict=True)}
