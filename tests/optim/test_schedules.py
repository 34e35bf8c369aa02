import math

import pytest
import torch
from diffusers.optimization import get_polynomial_decay_schedule_with_warmup, get_scheduler

from lorakiln.optim.schedules import depends_on_total, make_factor
from lorakiln.schema.schedules import SCHEDULES, SchedulerSettings

TOTAL = 50


def settings_of(kind: str, **given) -> SchedulerSettings:
    return SCHEDULES.settings(kind)(**given)


def diffusers_factors(settings: SchedulerSettings) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    if settings.kind == "polynomial":
        scheduler = get_polynomial_decay_schedule_with_warmup(
            optimizer, settings.warmup_steps, TOTAL, lr_end=0.0, power=settings.power
        )
    else:
        name = "constant_with_warmup" if settings.kind == "constant" else settings.kind
        scheduler = get_scheduler(
            name,
            optimizer,
            num_warmup_steps=settings.warmup_steps,
            num_training_steps=TOTAL,
            num_cycles=settings.cycles,
        )
    factors = []
    for _ in range(TOTAL):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


@pytest.mark.parametrize("warmup", [0, 1, 10])
@pytest.mark.parametrize("kind", ["constant", "linear", "cosine", "cosine_with_restarts", "polynomial"])
def test_schedules_are_diffusers(kind, warmup):
    settings = settings_of(kind, warmup_steps=warmup, cycles=3, power=2.0)
    ours = [make_factor(settings, TOTAL)(step) for step in range(TOTAL)]
    assert ours == pytest.approx(diffusers_factors(settings), abs=1e-12)


def test_closed_forms():
    def at(step, **given):
        return make_factor(settings_of(warmup_steps=10, **given), 110)(step)

    assert at(5, kind="constant") == 0.5
    assert at(35, kind="linear") == 0.75
    assert at(35, kind="cosine") == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert at(60, kind="polynomial", power=3.0) == 0.125
    assert at(60, kind="cosine_with_restarts", cycles=2) == 1.0
    # After the last step, which nothing trains with, nothing rises again.
    for kind in ("linear", "cosine", "cosine_with_restarts", "polynomial"):
        assert at(110, kind=kind) == at(111, kind=kind) == 0.0
    assert at(111, kind="constant") == 1.0


def test_only_a_constant_rate_allows_more_steps():
    assert not depends_on_total(settings_of("constant", warmup_steps=5))
    assert depends_on_total(settings_of("linear"))
