"""Learning-rate schedules: pure functions of the step, as diffusers' `get_scheduler` has them; one file a kind.

Each gives the factor on the learning rate of the step with index s (0, 1, ...), with w warm-up steps and T steps
in all: s / w while s < w, and then what its kind makes of the steps s - w since the warm-up, of T - w in all. With f of
a kind and m the least rate's part (min_lr_ratio), that is m + (1 - m) f.
"""

from collections.abc import Callable
from typing import Protocol

from lorakiln.schema.schedules import SCHEDULES, SchedulerSettings


class ScheduleKind(Protocol):
    """What a kind's module holds.

    Attributes:
        DEPENDS_ON_TOTAL: False if a run with more steps begins exactly as a shorter one.
    """

    DEPENDS_ON_TOTAL: bool

    def factor(self, step: int, total: int, settings: SchedulerSettings) -> float:
        """The factor on the learning rate, 0 to 1 with 0 for the least rate, a function of its arguments alone.

        Args:
            step: index of the optimizer step, from 0 at the end of the warm-up.
            total: how many such steps there are, at least 1.
            settings: the kind's own; its warm-up is in `warmup_steps`, if it was set as a fraction too.
        """


def make_factor(settings: SchedulerSettings, total: int) -> Callable[[int], float]:
    """What gives the factor on the learning rate, by the optimizer step's index from 0.

    Args:
        total: T; of no consequence to a kind that does not depend on it.
    """
    kind: ScheduleKind = SCHEDULES.find(settings.kind)
    warmup, least = settings.count_warmup(total), settings.min_lr_ratio
    settled = settings.model_copy(update={"warmup_steps": warmup, "warmup_fraction": 0.0})

    def factor(step: int) -> float:
        if step < warmup:
            return step / warmup
        return least + (1 - least) * kind.factor(step - warmup, max(1, total - warmup), settled)

    return factor


def trace_factors(settings: SchedulerSettings, total: int, count: int) -> list[float]:
    """The greatest factor in each of `count` stretches of the steps, or of all `total` if there are fewer; of a long
    stretch 64 steps are looked at.
    """
    factor, count = make_factor(settings, total), min(count, total)
    edges = [total * number // count for number in range(count + 1)]
    stretches = [range(begin, end, max(1, (end - begin) // 64)) for begin, end in zip(edges, edges[1:], strict=False)]
    return [max(factor(step) for step in steps) for steps in stretches]


def depends_on_total(settings: SchedulerSettings) -> bool:
    """False if a run with more steps begins exactly as a shorter one."""
    kind: ScheduleKind = SCHEDULES.find(settings.kind)
    return kind.DEPENDS_ON_TOTAL or settings.warmup_fraction > 0
