"""Adam by D-Adaptation (arXiv 2301.07733, algorithm 5): at the rate d x lr, where d estimates how far there is to go.

With s a mean of d lr g, in which the older count by sqrt(beta2), and r one of d lr <g, s / sqrt(v)>:
d = max(d, r / ((1 - sqrt(beta2)) ||s||_1)), all sums over all weights. d never falls.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lorakiln.optim.d_adaptation import DAdaptation
from lorakiln.optim.kohya_names import format_class
from lorakiln.schema.optimizers.dadapt_adam import DAdaptAdamSettings

ELEMENTWISE = True
MASKED = False


class DAdaptAdam(DAdaptation):
    """Keeps the numerator beside d."""

    settings: DAdaptAdamSettings

    def _begin(self) -> None:
        super()._begin()
        self.shared["numerator"] = torch.zeros_like(self.shared["d"])

    def _estimate_distance(self, rate: Tensor) -> None:
        settings, shared, (beta1, beta2) = self.settings, self.shared, self.settings.betas
        keep, gained, length = math.sqrt(beta2), torch.zeros_like(rate), torch.zeros_like(rate)
        for group in self.param_groups:
            if not group["lr"]:
                continue
            for weights in group["params"]:
                state, gradient = self.state[weights], weights.grad
                scale = state["exp_avg_sq"].sqrt().add_(settings.eps)
                gained += rate * (gradient * state["s"] / scale).sum()
                state["exp_avg"].mul_(beta1).add_(gradient * (rate * (1 - beta1)))
                state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
                state["s"].mul_(keep).add_(gradient * (rate * (1 - keep)))
                length += state["s"].abs().sum()
        shared["numerator"].mul_(keep).add_(gained, alpha=1 - keep)
        d = shared["d"]
        # No gradient at all has told nothing.
        found = torch.where(length > 0, shared["numerator"] / ((1 - keep) * length), d)
        if settings.growth_rate is not None:
            found = torch.minimum(found, d * settings.growth_rate)
        d.copy_(torch.maximum(d, found))

    def _move(self, weights: Tensor, rate: Tensor) -> None:
        state = self.state[weights]
        # The first moment has the rate in it.
        weights.addcdiv_(state["exp_avg"], state["exp_avg_sq"].sqrt().add_(self.settings.eps), value=-1)


def build(groups: Sequence[dict[str, Any]], settings: DAdaptAdamSettings) -> DAdaptAdam:
    """See `OptimizerKind`."""
    return DAdaptAdam(groups, settings)


def kohya_name(settings: DAdaptAdamSettings) -> str:
    """See `OptimizerKind`."""
    return format_class("dadaptation.dadapt_adam.DAdaptAdam", settings, decouple=True)
