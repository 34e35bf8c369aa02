"""AdamW (arXiv 1711.05101), torch's own, fused."""

from collections.abc import Sequence
from typing import Any

import torch

from lorakiln.optim.kohya_names import format_class
from lorakiln.schema.optimizers.adamw import AdamWSettings

ELEMENTWISE = True
MASKED = True


def build(groups: Sequence[dict[str, Any]], settings: AdamWSettings) -> torch.optim.AdamW:
    """See `OptimizerKind`."""
    # On the meta device, where memory is counted, there is no fused one.
    fused = groups[0]["params"][0].device.type != "meta"
    return torch.optim.AdamW(
        groups,
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=fused,
        foreach=False,
    )


def kohya_name(settings: AdamWSettings) -> str:
    """See `OptimizerKind`."""
    return format_class("torch.optim.AdamW", settings)
