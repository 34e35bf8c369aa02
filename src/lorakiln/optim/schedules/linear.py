"""1 - p, with p = step / total."""

from lorakiln.schema.schedules.linear import LinearSettings

DEPENDS_ON_TOTAL = True


def factor(step: int, total: int, settings: LinearSettings) -> float:
    """See `ScheduleKind`."""
    return 1 - min(1.0, step / total)
