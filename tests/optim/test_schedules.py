import math

import pytest
import torch
from diffusers.optimization import (
    get_piecewise_constant_schedule,
    get_polynomial_decay_schedule_with_warmup,
    get_scheduler,
)
from transformers.optimization import (
    get_cosine_with_min_lr_schedule_with_warmup,
    get_inverse_sqrt_schedule,
    get_wsd_schedule,
)

from lorakiln.optim.schedules import depends_on_total, make_factor, trace_factors
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
    return read_factors(optimizer, scheduler)


def read_factors(optimizer, scheduler) -> list[float]:
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
    # Of REX (arXiv 2107.04197): half-way with its 1/2 it is at 2/3; with no bend it is a line.
    assert at(60, kind="rex") == pytest.approx(2 / 3)
    assert at(35, kind="rex", bend=0.0) == 0.75
    assert at(35, kind="rex", bend=0.9) == pytest.approx(0.75 / (0.1 + 0.9 * 0.75))
    # Peaks of a quarter, a half apart; the least rate is that of the valleys.
    assert at(60, kind="cosine_with_restarts", cycles=2, cycle_decay=0.25, min_lr_ratio=0.2) == pytest.approx(0.4)
    assert at(60, kind="polynomial", power=3.0, min_lr_ratio=0.2) == pytest.approx(0.2 + 0.8 * 0.125)
    assert at(5, kind="linear", min_lr_ratio=0.2) == 0.5  # the warm-up begins at 0
    assert at(40, kind="inverse_sqrt") == at(310, kind="inverse_sqrt", timescale=100) == 0.5
    # After the last step, which nothing trains with, nothing rises again.
    for kind in ("linear", "cosine", "cosine_with_restarts", "polynomial", "rex", "wsd"):
        assert at(110, kind=kind) == at(111, kind=kind) == 0.0
    assert at(111, kind="constant") == 1.0


def test_only_a_constant_rate_allows_more_steps():
    assert not depends_on_total(settings_of("constant", warmup_steps=5))
    assert depends_on_total(settings_of("linear"))
    assert depends_on_total(settings_of("constant", warmup_fraction=0.1))
    assert not depends_on_total(settings_of("inverse_sqrt")) and not depends_on_total(settings_of("piecewise"))


# By (kind, settings): the other library's schedule of the same numbers, of an optimizer whose rate is 1.
REFERENCES = [
    (
        "cosine",
        {"warmup_steps": 5, "min_lr_ratio": 0.1},
        lambda one: get_cosine_with_min_lr_schedule_with_warmup(one, 5, TOTAL, min_lr_rate=0.1),
    ),
    ("inverse_sqrt", {"warmup_steps": 8}, lambda one: get_inverse_sqrt_schedule(one, 8)),
    ("inverse_sqrt", {"timescale": 30}, lambda one: get_inverse_sqrt_schedule(one, 0, timescale=30)),
    ("inverse_sqrt", {}, lambda one: get_inverse_sqrt_schedule(one, 0)),
    (
        "wsd",
        {"warmup_fraction": 0.1, "decay_fraction": 0.3, "decay_shape": "linear"},
        lambda one: get_wsd_schedule(one, 5, 15, num_stable_steps=30, decay_type="linear"),
    ),
    (
        "wsd",
        {"decay_fraction": 0.3, "decay_shape": "cosine", "min_lr_ratio": 0.2},
        lambda one: get_wsd_schedule(one, 0, 15, num_stable_steps=35, decay_type="cosine", min_lr_ratio=0.2),
    ),
    (
        "wsd",
        {"decay_fraction": 0.4},
        lambda one: get_wsd_schedule(one, 0, 20, num_stable_steps=30, decay_type="1-sqrt"),
    ),
    (
        "one_cycle",
        {"rise": 0.3, "start_ratio": 1 / 25, "min_lr_ratio": 1 / 25e4},
        lambda one: torch.optim.lr_scheduler.OneCycleLR(one, 1.0, TOTAL, pct_start=0.3, cycle_momentum=False),
    ),
    (
        "one_cycle",
        {"rise": 0.5, "start_ratio": 0.5, "min_lr_ratio": 0.1},
        lambda one: torch.optim.lr_scheduler.OneCycleLR(
            one, 1.0, TOTAL, pct_start=0.5, div_factor=2, final_div_factor=5, cycle_momentum=False
        ),
    ),
    (
        "piecewise",
        {"boundaries": [10, 20], "factors": [1.0, 0.25, 0.0]},
        lambda one: get_piecewise_constant_schedule(one, "1:10,0.25:20,0"),
    ),
]


@pytest.mark.parametrize(("kind", "given", "reference"), REFERENCES)
def test_schedules_are_those_of_other_libraries(kind, given, reference):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    ours = [make_factor(settings_of(kind, **given), TOTAL)(step) for step in range(TOTAL)]
    assert ours == pytest.approx(read_factors(optimizer, reference(optimizer)), abs=1e-6)


def test_a_warm_up_is_as_long_as_its_fraction_of_the_steps():
    half = make_factor(settings_of("constant", warmup_fraction=0.5), TOTAL)
    assert [half(step) for step in range(26)] == [step / 25 for step in range(26)]
    # Boundaries count from the first step, not from the end of the warm-up.
    stepped = make_factor(settings_of("piecewise", warmup_steps=4, boundaries=[6], factors=[1.0, 0.5]), TOTAL)
    assert [stepped(step) for step in (4, 5, 6)] == [1.0, 1.0, 0.5]


@pytest.mark.parametrize(
    ("kind", "given", "why"),
    [
        ("constant", {"warmup_steps": 5, "warmup_fraction": 0.1}, "two lengths of one warm-up"),
        ("one_cycle", {"warmup_steps": 5}, "warms up by itself"),
        ("piecewise", {"factors": [1.0]}, "2 boundaries make 3 stretches, and there are 1 factors"),
        ("piecewise", {"boundaries": [20, 10]}, "must rise"),
        ("piecewise", {"min_lr_ratio": 0.1}, "set min_lr_ratio to 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(kind, given, why):
    with pytest.raises(ValueError, match=why):
        settings_of(kind, **given)


def test_a_curve_misses_no_peak():
    restarts = settings_of("cosine_with_restarts", cycles=7, warmup_steps=10)
    traced = trace_factors(restarts, 1000, 40)
    assert len(traced) == 40 and max(traced) == 1 and sum(value > 0.99 for value in traced) >= 7
    assert trace_factors(settings_of("constant"), 10**9, 40) == [1.0] * 40
    assert len(trace_factors(restarts, 12, 40)) == 12
