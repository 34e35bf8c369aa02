"""Learning-rate schedules: pure functions of the step, as diffusers' `get_scheduler` has them; one file a kind.

Each gives the factor on the learning rate of the step with index s (0, 1, ...), with w warm-up steps and T steps
in all: s / w while s < w, and then what its kind makes of the steps s - w since the warm-up, of T - w in all.
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
        """The factor on the learning rate, at least 0, a function of its arguments alone.

        Args:
            step: index of the optimizer step, from 0 at the end of the warm-up.
            total: how many such steps there are, at least 1.
            settings: the kind's own.
        """


def make_factor(settings: SchedulerSettings, total: int) -> Callable[[int], float]:
    """What gives the factor on the learning rate, by the optimizer step's index from 0.

    Args:
        total: T; of no consequence to a kind that does not depend on it.
    """
    kind: ScheduleKind = SCHEDULES.find(settings.kind)
    warmup = settings.warmup_steps

    def factor(step: int) -> float:
        if step < warmup:
            return step / warmup
        return kind.factor(step - warmup, max(1, total - warmup), settings)

    return factor


def depends_on_total(settings: SchedulerSettings) -> bool:
    """False if a run with more steps begins exactly as a shorter one."""
    kind: ScheduleKind = SCHEDULES.find(settings.kind)
    return kind.DEPENDS_ON_TOTAL
