"""How much an adapter changes each part of the networks."""

import torch
from torch import Tensor

from lorakiln.adapters.networks import AdaptedNetworks


@torch.no_grad()
def compute_adapter_norms(adapted: AdaptedNetworks) -> dict[str, float]:
    """The Frobenius norm of the weight change, its scale included, by block: {"lora_norm/up_blocks.1": 0.3, ...}."""
    squares: dict[str, Tensor] = {}
    for name, square in adapted.squares().items():
        parts = name.split(".")
        block = ".".join(parts[:2]) if parts[0] in ("down_blocks", "up_blocks") else parts[0]
        squares[block] = squares.get(block, 0.0) + square
    values = torch.stack(list(squares.values())).clamp_min(0).sqrt().tolist()
    return {f"lora_norm/{block}": value for block, value in zip(squares, values, strict=True)}
