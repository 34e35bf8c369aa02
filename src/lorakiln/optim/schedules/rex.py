"""(1 - p) / (1 - b + b (1 - p)), with p = step / total and b = bend (arXiv 2107.04197, section 3.2)."""

from lorakiln.schema.schedules.rex import RexSettings

DEPENDS_ON_TOTAL = True


def factor(step: int, total: int, settings: RexSettings) -> float:
    """See `ScheduleKind`."""
    left = 1 - min(1.0, step / total)
    return left / (1 - settings.bend + settings.bend * left)
