"""Lion (arXiv 2302.06675, program 1).

With m the momentum: u = sign(beta1 m + (1 - beta1) g); w = w - lr (u + weight_decay w); m = beta2 m + (1 - beta2) g.
"""

from collections.abc import Sequence
from typing import Any

import torch

from lorakiln.optim.kohya_names import format_class
from lorakiln.schema.optimizers.lion import LionSettings

ELEMENTWISE = True
MASKED = False


class Lion(torch.optim.Optimizer):
    """Keeps one moment."""

    def __init__(
        self, groups: Sequence[dict[str, Any]], lr: float, betas: tuple[float, float], weight_decay: float
    ) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override] # nothing here is evaluated anew
        for group in self.param_groups:
            lr, (beta1, beta2) = group["lr"], group["betas"]
            for weights in group["params"]:
                gradient, state = weights.grad, self.state[weights]
                if not state:
                    state["exp_avg"] = torch.zeros_like(weights)
                moment = state["exp_avg"]
                # Before the weights change: theirs is what decays.
                weights.mul_(1 - lr * group["weight_decay"])
                weights.add_(torch.lerp(gradient, moment, beta1).sign_(), alpha=-lr)
                moment.mul_(beta2).add_(gradient, alpha=1 - beta2)


def build(groups: Sequence[dict[str, Any]], settings: LionSettings) -> Lion:
    """See `OptimizerKind`."""
    return Lion(groups, settings.lr, settings.betas, settings.weight_decay)


def kohya_name(settings: LionSettings) -> str:
    """See `OptimizerKind`."""
    return format_class("lion_pytorch.lion_pytorch.Lion", settings)
