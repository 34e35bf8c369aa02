"""Adafactor (arXiv 1804.04235, algorithm 6), as transformers has it.

The second moment of a matrix is kept by rows and columns, u = g / sqrt(its estimate) is scaled down to a root mean
square of `clip_threshold`, and w = w - rate (u + weight_decay w). The rate is lr, times min(0.01, 1 / sqrt(t)) with
`relative_step`, and times the root mean square of the tensor with `scale_parameter`.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lorakiln.optim.factored_moments import begin_moment, root_mean_square, update_moment
from lorakiln.optim.kohya_names import format_class
from lorakiln.optim.matrices import as_matrix
from lorakiln.schema.optimizers.adafactor import AdafactorSettings

ELEMENTWISE = False
MASKED = False


class Adafactor(torch.optim.Optimizer):
    """Keeps rows and columns of a moment, and, with `beta1`, another one as it is."""

    def __init__(self, groups: Sequence[dict[str, Any]], settings: AdafactorSettings) -> None:
        self.settings = settings
        super().__init__(groups, {"lr": settings.lr, "step": 0})

    def rate_factor(self) -> float | None:
        """See `AdaptsRate`."""
        return self._relative(max(self.param_groups[0]["step"], 1)) if self.settings.relative_step else None

    def _relative(self, step: int) -> float:
        return min(1e-6 * step if self.settings.warmup_init else 1e-2, 1 / math.sqrt(step))

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override] # nothing here is evaluated anew
        for group in self.param_groups:
            group["step"] += 1
            factor = self._relative(group["step"]) if self.settings.relative_step else 1.0
            for weights in group["params"]:
                self._move(weights, group["lr"] * factor, group["step"])

    def _move(self, weights: Tensor, lr: float, step: int) -> None:
        settings, state = self.settings, self.state[weights]
        matrix, gradient = as_matrix(weights.data), as_matrix(weights.grad)  # type: ignore[arg-type] # it has one
        if weights.dim() < 2:
            matrix, gradient = matrix.view(-1), gradient.view(-1)
        if not state:
            begin_moment(state, "exp_avg_sq", gradient)
            if settings.beta1 is not None:
                state["exp_avg"] = torch.zeros_like(gradient)
        rate: float | Tensor = lr
        if settings.scale_parameter:
            rate = lr * root_mean_square(matrix).clamp(min=settings.eps[1])
        beta2 = 1 - step**settings.decay_rate
        update = gradient * update_moment(state, "exp_avg_sq", gradient.square() + settings.eps[0], beta2)
        update.div_((root_mean_square(update) / settings.clip_threshold).clamp(min=1.0)).mul_(rate)
        if settings.beta1 is not None:
            update = state["exp_avg"].mul_(settings.beta1).add_(update, alpha=1 - settings.beta1)
        if settings.weight_decay:
            matrix.mul_(1 - settings.weight_decay * rate)
        matrix.sub_(update)


def build(groups: Sequence[dict[str, Any]], settings: AdafactorSettings) -> Adafactor:
    """See `OptimizerKind`."""
    return Adafactor(groups, settings)


def kohya_name(settings: AdafactorSettings) -> str:
    """See `OptimizerKind`."""
    return format_class("transformers.optimization.Adafactor", settings)
