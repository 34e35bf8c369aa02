"""Prodigy (arXiv 2306.06101, algorithm 4): Adam at the rate d x lr, where d estimates how far there is to go.

With x_0 the first weights, g the gradient, and all sums over all weights, each in a mean that decays by beta3:
d = max(d, d_coef sum(d / d0 d lr <g, x_0 - x>) / ||sum(d / d0 d lr g)||_1); with `safeguard_warmup` without lr below
the line. d only grows. The moments are of d g.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lorakiln.optim.d_adaptation import DAdaptation
from lorakiln.optim.kohya_names import format_class
from lorakiln.schema.optimizers.prodigy import ProdigySettings

ELEMENTWISE = True
MASKED = False


class Prodigy(DAdaptation):
    """Keeps the first weights, too; beside d the largest that was found, and its numerator."""

    settings: ProdigySettings

    def _begin(self) -> None:
        super()._begin()
        for group in self.param_groups:
            for weights in group["params"]:
                self.state[weights]["p0"] = weights.detach().clone()
        d = self.shared["d"]
        self.shared.update(d_max=d.clone(), d_numerator=torch.zeros_like(d))

    def _estimate_distance(self, rate: Tensor) -> None:
        settings, shared, (beta1, beta2) = self.settings, self.shared, self.settings.betas
        beta3 = math.sqrt(beta2) if settings.beta3 is None else settings.beta3
        d = shared["d"]
        raised = d / settings.d0  # d squared alone would be too small a number
        gained, length = torch.zeros_like(d), torch.zeros_like(d)
        for group in self.param_groups:
            if not group["lr"]:
                continue
            for weights in group["params"]:
                state, gradient = self.state[weights], weights.grad
                gained += (gradient * (state["p0"] - weights)).sum()
                state["exp_avg"].mul_(beta1).add_(gradient * (d * (1 - beta1)))
                state["exp_avg_sq"].mul_(beta2).add_(gradient.square() * (d * d * (1 - beta2)))
                state["s"].mul_(beta3).add_(gradient * (raised * (d if settings.safeguard_warmup else rate)))
                length += state["s"].abs().sum()
        shared["d_numerator"].mul_(beta3).add_(raised * rate * gained)
        # No gradient at all has told nothing.
        found = torch.where(length > 0, settings.d_coef * shared["d_numerator"] / length, d)
        before = torch.where(d == settings.d0, torch.maximum(d, found), d)
        shared["d_max"].copy_(torch.maximum(shared["d_max"], found))
        grown = before if settings.growth_rate is None else before * settings.growth_rate
        d.copy_(shared["d_max"] if settings.growth_rate is None else torch.minimum(shared["d_max"], grown))

    def _move(self, weights: Tensor, rate: Tensor) -> None:
        state = self.state[weights]
        scale = state["exp_avg_sq"].sqrt().add_(self.shared["d"] * self.settings.eps)
        weights.sub_(state["exp_avg"] / scale * rate)


def build(groups: Sequence[dict[str, Any]], settings: ProdigySettings) -> Prodigy:
    """See `OptimizerKind`."""
    return Prodigy(groups, settings)


def kohya_name(settings: ProdigySettings) -> str:
    """See `OptimizerKind`."""
    return format_class("prodigyopt.prodigy.Prodigy", settings, decouple=True)
