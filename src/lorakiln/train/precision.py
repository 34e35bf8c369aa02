"""In which precision the frozen base is kept, and computes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn


def takes_bf16(wanted: str, device: torch.device) -> bool:
    """Whether the frozen base is bf16 on a device: one rule for one device and for several.

    Args:
        wanted: "auto" takes bf16 on a GPU that computes in it; "bf16" on a CPU too, where it halves the base's memory.
    """
    if device.type == "cuda":
        return wanted != "fp32" and torch.cuda.is_bf16_supported(including_emulation=False)
    return wanted == "bf16"


def norm_in_half(network: nn.Module, kind: str) -> None:
    """Let the norms of a network in half precision take and give that, in place, also under autocast.

    Their kernels add up in float32 whatever they take. Autocast on GPUs, unlike that of the CPU, has them give float32
    as well, which the activation after them keeps for its backward pass and each of q, k and v converts for itself: a
    quarter of what a step holds, for one rounding less.

    Args:
        kind: of the device, as autocast names it.
    """
    for module in network.modules():
        if isinstance(module, nn.GroupNorm | nn.LayerNorm):
            norm: Any = module  # whose methods are replaced
            norm.forward = partial(_without_autocast, module.forward, kind, module)


def _without_autocast(
    forward: Callable[[Tensor], Tensor], kind: str, module: nn.GroupNorm | nn.LayerNorm, states: Tensor
) -> Tensor:
    with torch.autocast(kind, enabled=False):
        return forward(states if module.weight is None else states.to(module.weight.dtype))
