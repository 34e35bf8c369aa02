"""1."""

from lorakiln.schema.schedules.constant import ConstantSettings

DEPENDS_ON_TOTAL = False


def factor(step: int, total: int, settings: ConstantSettings) -> float:
    """See `ScheduleKind`."""
    return 1.0
