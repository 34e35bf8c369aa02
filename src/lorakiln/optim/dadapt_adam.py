"""Adam by D-Adaptation (arXiv 2301.07733, algorithm 5): at the rate d x lr, where d estimates how far there is to go.

With s a mean of d lr g, in which the older count by sqrt(beta2), and r one of d lr <g, s / sqrt(v)>:
d = max(d, r / ((1 - sqrt(beta2)) ||s||_1)), all sums over all weights. d never falls.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lorakiln.optim.naming import format_class
from lorakiln.optim.one_rate import find_one_rate
from lorakiln.schema.optimizers.dadapt_adam import DAdaptAdamSettings

ELEMENTWISE = True
MASKED = False


class DAdaptAdam(torch.optim.Optimizer):
    """Keeps two moments and s; d in the state of the first parameter, for all."""

    def __init__(self, groups: Sequence[dict[str, Any]], settings: DAdaptAdamSettings) -> None:
        self.settings = settings
        super().__init__(groups, {"lr": settings.lr, "step": 0})

    def rate_factor(self) -> float | None:
        """See `AdaptsRate`."""
        found = self.state[self.param_groups[0]["params"][0]]
        return float(found["d"]) if found else self.settings.d0

    def _begin(self) -> None:
        for group in self.param_groups:
            for weights in group["params"]:
                names = ("exp_avg", "exp_avg_sq", "s")
                self.state[weights].update({name: torch.zeros_like(weights) for name in names})
        first = self.param_groups[0]["params"][0]
        d = torch.full((), self.settings.d0, device=first.device)
        self.state[first].update(d=d, numerator=torch.zeros_like(d))

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override] # nothing here is evaluated anew
        first = self.param_groups[0]["params"][0]
        if not self.state[first]:
            self._begin()
        lr, step = find_one_rate(self.param_groups, "dadapt_adam"), self.param_groups[0]["step"] + 1
        if not lr:  # a warm-up begins so, and there is nothing to learn from it
            return
        settings, (beta1, beta2) = self.settings, self.settings.betas
        correction = math.sqrt(1 - beta2**step) / (1 - beta1**step) if settings.use_bias_correction else 1.0
        rate = self.state[first]["d"] * (lr * correction)
        self._look(rate)
        for group in self.param_groups:
            group["step"] = step
            for weights in group["params"] if group["lr"] else ():
                state = self.state[weights]
                if settings.weight_decay:
                    weights.mul_(1 - settings.weight_decay * rate)
                # The first moment has the rate in it.
                weights.addcdiv_(state["exp_avg"], state["exp_avg_sq"].sqrt().add_(settings.eps), value=-1)

    def _look(self, rate: Tensor) -> None:
        """Take the gradients into the moments, and learn d from them."""
        settings, (beta1, beta2) = self.settings, self.settings.betas
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
        shared = self.state[self.param_groups[0]["params"][0]]
        shared["numerator"].mul_(keep).add_(gained, alpha=1 - keep)
        d = shared["d"]
        # No gradient at all has told nothing.
        found = torch.where(length > 0, shared["numerator"] / ((1 - keep) * length), d)
        if settings.growth_rate is not None:
            found = torch.minimum(found, d * settings.growth_rate)
        d.copy_(torch.maximum(d, found))


def build(groups: Sequence[dict[str, Any]], settings: DAdaptAdamSettings) -> DAdaptAdam:
    """See `OptimizerKind`."""
    return DAdaptAdam(groups, settings)


def kohya_name(settings: DAdaptAdamSettings) -> str:
    """See `OptimizerKind`."""
    return format_class("dadaptation.dadapt_adam.DAdaptAdam", settings, decouple=True)
