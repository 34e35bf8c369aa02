"""sqrt(t / (step + t)), with t the timescale, as transformers' schedule of this name."""

import math

from lorakiln.schema.schedules.inverse_sqrt import InverseSqrtSettings

DEPENDS_ON_TOTAL = False
USUAL = 10_000  # steps, where there is no warm-up to take them from


def factor(step: int, total: int, settings: InverseSqrtSettings) -> float:
    """See `ScheduleKind`."""
    timescale = settings.timescale or settings.warmup_steps or USUAL
    return math.sqrt(timescale / (step + timescale))
