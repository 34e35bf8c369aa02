"""Learning-rate schedules: pure functions of the step, as diffusers' `get_scheduler` has them.

Each gives the factor on the learning rate of the step with index s (0, 1, ...), with w warm-up steps and T steps
in all: s / w while s < w, and then, with p = (s - w) / (T - w) in [0, 1),

    constant               1
    linear                 1 - p
    cosine                 (1 + cos(pi p)) / 2
    cosine_with_restarts   (1 + cos(pi ((cycles p) mod 1))) / 2
    polynomial             (1 - p) ** power        (to zero; diffusers stops at a rate of 1e-7)
"""

import math

from lorakiln.schema.train import SchedulerSettings


def factor(step: int, total: int, settings: SchedulerSettings) -> float:
    """The factor on the learning rate, in [0, 1].

    Args:
        step: index of the optimizer step, from 0.
        total: T; of no consequence to `constant`.
    """
    warmup = settings.warmup_steps
    if step < warmup:
        return step / warmup
    if settings.kind == "constant":
        return 1.0
    progress = (step - warmup) / max(1, total - warmup)
    if progress >= 1:
        return 0.0
    match settings.kind:
        case "linear":
            return 1 - progress
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * progress))
        case "cosine_with_restarts":
            return 0.5 * (1 + math.cos(math.pi * (settings.cycles * progress % 1.0)))
        case "polynomial":
            return (1 - progress) ** settings.power


def depends_on_total(settings: SchedulerSettings) -> bool:
    """False if a run with more steps begins exactly as a shorter one."""
    return settings.kind != "constant"
