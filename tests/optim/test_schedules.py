import math

import pytest
import torch
from diffusers.optimization import get_polynomial_decay_schedule_with_warmup, get_scheduler

from lorakiln.schema.train import SchedulerSettings
from lorakiln.train.lr import depends_on_total, factor

TOTAL = 50


def diffusers_factors(settings: SchedulerSettings) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    if settings.kind == "polynomial":
        scheduler = get_polynomial_decay_schedule_with_warmup(
            optimizer, settings.warmup_steps, TOTAL, lr_end=0.0, power=settings.power
        )
    else:
        name = "constant_with_warmup" if settings.kind == "constant" else settings.kind
        scheduler = get_scheduler(
            name, optimizer, num_warmup_steps=settings.warmup_steps, num_training_steps=TOTAL,
            num_cycles=settings.cycles,
        )  # fmt: skip
    factors = []
    for _ in range(TOTAL):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


@pytest.mark.parametrize("warmup", [0, 1, 10])
@pytest.mark.parametrize("kind", ["constant", "linear", "cosine", "cosine_with_restarts", "polynomial"])
def test_schedules_are_diffusers(kind, warmup):
    settings = SchedulerSettings(kind=kind, warmup_steps=warmup, cycles=3, power=2.0)
    ours = [factor(step, TOTAL, settings) for step in range(TOTAL)]
    assert ours == pytest.approx(diffusers_factors(settings), abs=1e-12)


def test_closed_forms():
    def at(step, **settings):
        return factor(step, 110, SchedulerSettings(warmup_steps=10, **settings))

    assert at(5, kind="constant") == 0.5
    assert at(35, kind="linear") == 0.75
    assert at(35, kind="cosine") == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert at(60, kind="polynomial", power=3.0) == 0.125
    assert at(60, kind="cosine_with_restarts", cycles=2) == 1.0
    assert at(110, kind="cosine") == 0.0


def test_only_a_constant_rate_allows_more_steps():
    assert not depends_on_total(SchedulerSettings(kind="constant", warmup_steps=5))
    assert depends_on_total(SchedulerSettings(kind="linear"))
