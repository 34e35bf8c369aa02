"""What the optimizers share that estimate one distance d for all weights, and go at the rate d x lr."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lorakiln.console.errors import UserError
from lorakiln.schema.optimizers.dadapt_adam import DAdaptAdamSettings
from lorakiln.schema.optimizers.prodigy import ProdigySettings


class DAdaptation(torch.optim.Optimizer, ABC):
    """Adam's two moments and a sum `s` of each parameter; d in the state of the first one, for all."""

    def __init__(self, groups: Sequence[dict[str, Any]], settings: ProdigySettings | DAdaptAdamSettings) -> None:
        self.settings = settings
        super().__init__(groups, {"lr": settings.lr, "step": 0})

    @property
    def shared(self) -> dict[str, Tensor]:
        """The state that holds d."""
        found: dict[str, Tensor] = self.state[self.param_groups[0]["params"][0]]
        return found

    def rate_factor(self) -> float | None:
        """See `AdaptsRate`."""
        return float(self.shared["d"]) if self.shared else self.settings.d0

    def _begin(self) -> None:
        """Make the state; d is d0."""
        for group in self.param_groups:
            for weights in group["params"]:
                names = ("exp_avg", "exp_avg_sq", "s")
                self.state[weights].update({name: torch.zeros_like(weights) for name in names})
        device = self.param_groups[0]["params"][0].device
        self.shared["d"] = torch.full((), self.settings.d0, device=device)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override] # nothing here is evaluated anew
        if not self.shared:
            self._begin()
        lr, step = find_uniform_rate(self.param_groups, self.settings.kind), self.param_groups[0]["step"] + 1
        if not lr:  # a warm-up begins so, and there is nothing to learn from it
            return
        beta1, beta2 = self.settings.betas
        correction = math.sqrt(1 - beta2**step) / (1 - beta1**step) if self.settings.use_bias_correction else 1.0
        rate = self.shared["d"] * (lr * correction)
        self._estimate_distance(rate)
        for group in self.param_groups:
            group["step"] = step
            for weights in group["params"] if group["lr"] else ():
                if self.settings.weight_decay:
                    weights.mul_(1 - self.settings.weight_decay * rate)
                self._move(weights, rate)

    @abstractmethod
    def _estimate_distance(self, rate: Tensor) -> None:
        """Take the gradients into the moments, and learn d from them."""

    @abstractmethod
    def _move(self, weights: Tensor, rate: Tensor) -> None:
        """Change a parameter by its moments."""


def find_uniform_rate(groups: Sequence[dict[str, Any]], kind: str) -> float:
    """The rate of all groups that have not 0.

    Raises:
        UserError: there are several, as LoRA+ makes them.
    """
    rates = {group["lr"] for group in groups} - {0.0}
    if len(rates) > 1:
        listed = ", ".join(f"{rate:g}" for rate in sorted(rates))
        raise UserError(
            f"{kind} finds one learning rate for all weights, and they are given several, {listed}",
            where=f"train/optimizer={kind}",
            fix="the same rate for all parts and for both matrices of a LoRA, or another optimizer",
        )
    return max(rates, default=0.0)
