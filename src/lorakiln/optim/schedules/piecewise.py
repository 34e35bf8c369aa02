"""factors[n], with n the boundaries that the step has reached; they count from the first step of the training."""

from bisect import bisect_right

from lorakiln.schema.schedules.piecewise import PiecewiseSettings

DEPENDS_ON_TOTAL = False


def factor(step: int, total: int, settings: PiecewiseSettings) -> float:
    """See `ScheduleKind`."""
    return settings.factors[bisect_right(settings.boundaries, step + settings.warmup_steps)]
