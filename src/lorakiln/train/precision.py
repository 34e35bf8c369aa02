"""In which precision the frozen base is kept, and computes."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

HALVES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_precision(wanted: str, device: torch.device) -> str:
    """What the frozen base is kept in on a device, "fp32", "bf16" or "fp16": one rule for one device and for several.

    Args:
        wanted: "auto" takes bf16 on a GPU that computes in it, fp16 on an older one, fp32 on a CPU; "bf16" and "fp16"
            on a CPU too, where they halve the base's memory. A GPU without bf16 stays fp32 where "bf16" is wanted.
    """
    if wanted not in ("auto", "bf16"):
        return wanted
    if device.type != "cuda":
        return "fp32" if wanted == "auto" else wanted
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16"
    return "fp16" if wanted == "auto" else "fp32"


def choose_half(device: torch.device) -> str:
    """What there is to be advised, "bf16" or "fp16", where a base in fp32 is too large."""
    return choose_precision("auto", device) if device.type == "cuda" else "bf16"


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
