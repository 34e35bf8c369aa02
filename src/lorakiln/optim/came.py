"""CAME (arXiv 2307.02047, algorithm 2): Adafactor's update with momentum, divided by how unsteady it is.

With u Adafactor's update, scaled down to a root mean square of `clip_threshold`, and m its mean: the instability
(u - m) ** 2 has a mean of its own, kept by rows and columns, S; w = w - lr (m / sqrt(S) + weight_decay w). A vector's
update is m itself.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lorakiln.optim.factored_moments import begin_moment, root_mean_square, update_moment
from lorakiln.optim.kohya_names import format_class
from lorakiln.optim.matrices import as_matrix
from lorakiln.schema.optimizers.came import CameSettings

ELEMENTWISE = False
MASKED = False


class CAME(torch.optim.Optimizer):
    """Keeps one moment as it is, and rows and columns of two."""

    def __init__(self, groups: Sequence[dict[str, Any]], settings: CameSettings) -> None:
        self.settings = settings
        super().__init__(groups, {"lr": settings.lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override] # nothing here is evaluated anew
        for group in self.param_groups:
            for weights in group["params"]:
                self._move(weights, group["lr"])

    def _move(self, weights: Tensor, lr: float) -> None:
        settings, state = self.settings, self.state[weights]
        (beta1, beta2, beta3), (small, smaller) = settings.betas, settings.eps
        matrix, gradient = as_matrix(weights.data), as_matrix(weights.grad)  # type: ignore[arg-type] # it has one
        if weights.dim() < 2:
            matrix, gradient = matrix.view(-1), gradient.view(-1)
        if not state:
            state["exp_avg"] = torch.zeros_like(gradient)
            begin_moment(state, "exp_avg_sq", gradient)
            if gradient.dim() == 2:
                begin_moment(state, "exp_avg_res", gradient)
        update = gradient * update_moment(state, "exp_avg_sq", gradient.square() + small, beta2)
        update.div_((root_mean_square(update) / settings.clip_threshold).clamp(min=1.0))
        moment = state["exp_avg"].mul_(beta1).add_(update, alpha=1 - beta1)
        if gradient.dim() == 2:
            instability = (update - moment).square_().add_(smaller)
            moment = moment * update_moment(state, "exp_avg_res", instability, beta3)
        if settings.weight_decay:
            matrix.mul_(1 - settings.weight_decay * lr)
        matrix.sub_(moment, alpha=lr)


def build(groups: Sequence[dict[str, Any]], settings: CameSettings) -> CAME:
    """See `OptimizerKind`."""
    return CAME(groups, settings)


def kohya_name(settings: CameSettings) -> str:
    """See `OptimizerKind`."""
    return format_class("came_pytorch.CAME.CAME", settings)
