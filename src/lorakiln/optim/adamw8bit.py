"""AdamW whose two moments are kept in 8 bits, in blocks of 256 (arXiv 2110.02861): bitsandbytes' own.

It keeps tensors of fewer than 4,096 numbers, which many of a LoRA are, in 32 bits. Here it works on one vector of all
of them, so that the moments are of 8 bits whatever the rank.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch

from lorakiln.console.errors import UserError
from lorakiln.libraries import import_bitsandbytes
from lorakiln.optim.kohya_names import format_class
from lorakiln.schema.optimizers.adamw8bit import AdamW8bitSettings

ELEMENTWISE = True
MASKED = False

LEAST = 4096  # numbers; the moments of fewer stay float32
BLOCK, TABLE = 256, 256  # numbers that share a scale; float32 numbers that a byte stands for


class _Hollow(torch.optim.Optimizer):
    """Holds as much as bitsandbytes' will, on tensors without numbers."""

    def step(self, closure: Any = None) -> None:  # type: ignore[override] # nothing here is evaluated anew
        for group in self.param_groups:
            for weights in group["params"]:
                for number in (1, 2):
                    if weights.numel() < LEAST:
                        self.state[weights][f"state{number}"] = torch.empty_like(weights)
                        continue
                    self.state[weights][f"state{number}"] = torch.empty_like(weights, dtype=torch.uint8)
                    for name, count in (("qmap", TABLE), ("absmax", math.ceil(weights.numel() / BLOCK))):
                        self.state[weights][f"{name}{number}"] = weights.new_empty(count)


def build(groups: Sequence[dict[str, Any]], settings: AdamW8bitSettings) -> torch.optim.Optimizer:
    """See `OptimizerKind`.

    Raises:
        UserError: bitsandbytes is not installed, or has nothing for this device.
    """
    if groups[0]["params"][0].device.type == "meta":
        return _Hollow(groups, {"lr": settings.lr})
    library = import_bitsandbytes("train/optimizer=adamw8bit")
    _check_device(library, groups[0]["params"][0].device)
    made: torch.optim.Optimizer = library.optim.AdamW8bit(
        groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, weight_decay=settings.weight_decay
    )
    return made


def _check_device(library: Any, device: torch.device) -> None:
    """Raise UserError where the library cannot make a step: older ones have no such kernels for CPUs."""
    weights = torch.nn.Parameter(torch.zeros(LEAST, device=device))
    weights.grad = torch.zeros_like(weights)
    try:
        library.optim.AdamW8bit([weights]).step()
    except (NotImplementedError, RuntimeError) as error:
        why = str(error).partition("\n")[0]
        raise UserError(
            f"bitsandbytes {library.__version__} has no 8-bit AdamW for {device.type}: {why}",
            where="train/optimizer=adamw8bit",
            fix="train/optimizer=adamw, or a newer bitsandbytes",
        ) from error


def kohya_name(settings: AdamW8bitSettings) -> str:
    """See `OptimizerKind`."""
    return format_class("bitsandbytes.optim.adamw.AdamW8bit", settings)
