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

from lorakiln.optim.naming import format_class
from lorakiln.optim.one_rate import find_one_rate
from lorakiln.schema.optimizers.prodigy import ProdigySettings

ELEMENTWISE = True
MASKED = False


class Prodigy(torch.optim.Optimizer):
    """Keeps two moments, the first weights and the sum of gradients; d in the state of the first parameter, for all."""

    def __init__(self, groups: Sequence[dict[str, Any]], settings: ProdigySettings) -> None:
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
                self.state[weights]["p0"] = weights.detach().clone()
        first = self.param_groups[0]["params"][0]
        d = torch.full((), self.settings.d0, device=first.device)
        self.state[first].update(d=d, d_max=d.clone(), d_numerator=torch.zeros_like(d))

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override] # nothing here is evaluated anew
        first = self.param_groups[0]["params"][0]
        if not self.state[first]:
            self._begin()
        lr, step = find_one_rate(self.param_groups, "prodigy"), self.param_groups[0]["step"] + 1
        if not lr:  # a warm-up begins so, and there is nothing to learn from it
            return
        settings, (beta1, beta2) = self.settings, self.settings.betas
        correction = math.sqrt(1 - beta2**step) / (1 - beta1**step) if settings.use_bias_correction else 1.0
        d = self.state[first]["d"].clone()
        rate = d * (lr * correction)
        self._look(lr, d, rate)
        for group in self.param_groups:
            group["step"] = step
            for weights in group["params"] if group["lr"] else ():
                self._move(weights, rate, self.state[first]["d"])

    def _look(self, lr: float, d: Tensor, rate: Tensor) -> None:
        """Take the gradients into the moments, and learn d from them."""
        settings, (beta1, beta2) = self.settings, self.settings.betas
        beta3 = math.sqrt(beta2) if settings.beta3 is None else settings.beta3
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
        shared = self.state[self.param_groups[0]["params"][0]]
        shared["d_numerator"].mul_(beta3).add_(raised * rate * gained)
        # No gradient at all has told nothing.
        found = torch.where(length > 0, settings.d_coef * shared["d_numerator"] / length, d)
        before = torch.where(d == settings.d0, torch.maximum(d, found), d)
        shared["d_max"].copy_(torch.maximum(shared["d_max"], found))
        grown = before if settings.growth_rate is None else before * settings.growth_rate
        limit = shared["d_max"] if settings.growth_rate is None else torch.minimum(shared["d_max"], grown)
        shared["d"].copy_(limit)

    def _move(self, weights: Tensor, rate: Tensor, d: Tensor) -> None:
        state = self.state[weights]
        if self.settings.weight_decay:
            weights.mul_(1 - self.settings.weight_decay * rate)
        scale = state["exp_avg_sq"].sqrt().add_(d * self.settings.eps)
        weights.sub_(state["exp_avg"] / scale * rate)


def build(groups: Sequence[dict[str, Any]], settings: ProdigySettings) -> Prodigy:
    """See `OptimizerKind`."""
    return Prodigy(groups, settings)


def kohya_name(settings: ProdigySettings) -> str:
    """See `OptimizerKind`."""
    return format_class("prodigyopt.prodigy.Prodigy", settings, decouple=True)
