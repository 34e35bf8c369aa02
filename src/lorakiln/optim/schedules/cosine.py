"""(1 + cos(pi p)) / 2, with p = step / total."""

import math

from lorakiln.schema.schedules.cosine import CosineSettings

DEPENDS_ON_TOTAL = True


def factor(step: int, total: int, settings: CosineSettings) -> float:
    """See `ScheduleKind`."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, step / total)))
