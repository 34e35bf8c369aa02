"""AdamW whose two moments are kept in 8 bits, in blocks of 256 (arXiv 2110.02861): bitsandbytes' own.

It keeps tensors of fewer than 4,096 numbers, which many of a LoRA are, in 32 bits. Here it works on one vector of all
of them, so that the moments are of 8 bits whatever the rank.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch

from lorakiln.console.errors import UserError
from lorakiln.optim.naming import format_class
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
        UserError: bitsandbytes is not installed.
    """
    if groups[0]["params"][0].device.type == "meta":
        return _Hollow(groups, {"lr": settings.lr})
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise UserError(
            "bitsandbytes is not installed", where="train/optimizer=adamw8bit", fix="pip install 'lorakiln[adamw8bit]'"
        ) from error
    made: torch.optim.Optimizer = AdamW8bit(
        groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, weight_decay=settings.weight_decay
    )
    return made


def kohya_name(settings: AdamW8bitSettings) -> str:
    """See `OptimizerKind`."""
    return format_class("bitsandbytes.optim.adamw.AdamW8bit", settings)
