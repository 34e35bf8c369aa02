"""Kinds that are not part of the package, as another package would add them: optimizers and a schedule."""

from types import SimpleNamespace
from typing import Literal

import torch
from pydantic import Field

from lorakiln.optim.kohya_names import format_class
from lorakiln.schema.optimizers import OPTIMIZERS, OptimizerSettings
from lorakiln.schema.schedules import SCHEDULES, SchedulerSettings


class SignSettings(OptimizerSettings):
    kind: Literal["sign"] = "sign"
    momentum: float = Field(0.9, ge=0, lt=1)


class SignSGD(torch.optim.Optimizer):
    """w -= lr sign(m), with m the momentum, whose sign decays; it counts its steps without tensors."""

    def __init__(self, groups, lr, momentum):
        super().__init__(groups, {"lr": lr, "momentum": momentum, "seen": 0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["seen"] += 1
            for weights in group["params"]:
                state = self.state[weights]
                state["calls"] = state.get("calls", 0) + 1
                mean = state.setdefault("mean", torch.zeros_like(weights, dtype=torch.bfloat16))
                mean.mul_(group["momentum"]).add_(weights.grad.bfloat16(), alpha=1 / (1 + group["seen"]))
                weights.add_(mean.sign(), alpha=-group["lr"] / state["calls"] ** 0.5)


SIGN = SimpleNamespace(
    ELEMENTWISE=True,
    MASKED=False,
    build=lambda groups, settings: SignSGD(groups, settings.lr, settings.momentum),
    kohya_name=lambda settings: format_class("made_up.SignSGD", settings),
)


class RowsSettings(OptimizerSettings):
    kind: Literal["rows"] = "rows"


# It keeps means over rows and columns: to it a matrix is no vector.
ROWS = SimpleNamespace(
    ELEMENTWISE=False,
    MASKED=False,
    build=lambda groups, settings: torch.optim.Adafactor(groups, lr=settings.lr),
    kohya_name=lambda settings: format_class("torch.optim.Adafactor", settings),
)


class HalvingSettings(SchedulerSettings):
    kind: Literal["halving"] = "halving"
    every: int = Field(3, ge=1, le=10**9)


HALVING = SimpleNamespace(DEPENDS_ON_TOTAL=False, factor=lambda step, total, settings: 0.5 ** (step // settings.every))


def add_kinds() -> None:
    OPTIMIZERS.add("sign", SIGN, SignSettings)
    OPTIMIZERS.add("rows", ROWS, RowsSettings)
    SCHEDULES.add("halving", HALVING, HalvingSettings)


def remove_kinds() -> None:
    OPTIMIZERS.remove("sign")
    OPTIMIZERS.remove("rows")
    SCHEDULES.remove("halving")
