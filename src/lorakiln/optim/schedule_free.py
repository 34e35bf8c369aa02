"""AdamW without a schedule (arXiv 2405.15682, algorithm 1): the weights that matter are a mean of those trained.

With z where plain AdamW would be, and x the mean of all z, the gradient is taken, and the weights are, at
y = (1 - beta1) z + beta1 x. A picture, a validation loss and a saved file are of x; a checkpoint holds y and z.
"""

from collections.abc import Sequence
from typing import Any

import torch

from lorakiln.optim.kohya_names import format_class
from lorakiln.schema.optimizers.schedule_free import ScheduleFreeSettings

ELEMENTWISE = True
MASKED = False


class ScheduleFreeAdamW(torch.optim.Optimizer):
    """Keeps z and one moment."""

    def __init__(self, groups: Sequence[dict[str, Any]], settings: ScheduleFreeSettings) -> None:
        self.settings = settings
        super().__init__(groups, {"lr": settings.lr, "step": 0, "lr_max": 0.0, "weight_sum": 0.0})

    @torch.no_grad()
    def eval(self) -> None:
        """See `Averages`: y becomes x."""
        self._move_from_z(1 - 1 / self.settings.betas[0])

    @torch.no_grad()
    def train(self) -> None:
        """See `Averages`: x becomes y."""
        self._move_from_z(1 - self.settings.betas[0])

    def _move_from_z(self, weight: float) -> None:
        for group in self.param_groups:
            for weights in group["params"]:
                if "z" in self.state[weights]:
                    weights.lerp_(self.state[weights]["z"], weight)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override] # nothing here is evaluated anew
        settings, (beta1, beta2) = self.settings, self.settings.betas
        for group in self.param_groups:
            group["step"] += 1
            group["lr_max"] = max(group["lr"], group["lr_max"])
            weight = group["step"] ** settings.r * group["lr_max"] ** settings.weight_lr_power
            group["weight_sum"] += weight
            share = weight / group["weight_sum"] if group["weight_sum"] else 0.0  # 0 while a warm-up begins at 0
            for y in group["params"]:
                state = self.state[y]
                if not state:
                    state["z"], state["exp_avg_sq"] = y.detach().clone(), torch.zeros_like(y)
                z, second = state["z"], state["exp_avg_sq"].mul_(beta2).addcmul_(y.grad, y.grad, value=1 - beta2)
                scale = (second / (1 - beta2 ** group["step"])).sqrt_().add_(settings.eps)
                update = (y.grad / scale).add_(y, alpha=settings.weight_decay)
                y.lerp_(z, share).add_(update, alpha=group["lr"] * (beta1 * (1 - share) - 1))
                z.sub_(update, alpha=group["lr"])


def build(groups: Sequence[dict[str, Any]], settings: ScheduleFreeSettings) -> ScheduleFreeAdamW:
    """See `OptimizerKind`."""
    return ScheduleFreeAdamW(groups, settings)


def kohya_name(settings: ScheduleFreeSettings) -> str:
    """See `OptimizerKind`."""
    return format_class("schedulefree.adamw_schedulefree.AdamWScheduleFree", settings)
