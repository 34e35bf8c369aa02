"""SGD with momentum, torch's own, fused."""

from collections.abc import Sequence
from typing import Any

import torch

from lorakiln.optim.kohya_names import format_class
from lorakiln.schema.optimizers.sgd import SgdSettings

ELEMENTWISE = True
MASKED = True


def build(groups: Sequence[dict[str, Any]], settings: SgdSettings) -> torch.optim.SGD:
    """See `OptimizerKind`."""
    # On the meta device, where memory is counted, there is no fused one.
    fused = groups[0]["params"][0].device.type != "meta"
    return torch.optim.SGD(
        groups,
        lr=settings.lr,
        momentum=settings.momentum,
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay,
        fused=fused,
        foreach=False,
    )


def kohya_name(settings: SgdSettings) -> str:
    """See `OptimizerKind`."""
    return format_class("torch.optim.sgd.SGD", settings)
