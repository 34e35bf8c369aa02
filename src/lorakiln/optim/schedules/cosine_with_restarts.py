"""(1 + cos(pi ((cycles p) mod 1))) / 2, with p = step / total; 0 from the end on."""

import math

from lorakiln.schema.schedules.cosine_with_restarts import CosineWithRestartsSettings

DEPENDS_ON_TOTAL = True


def factor(step: int, total: int, settings: CosineWithRestartsSettings) -> float:
    """See `ScheduleKind`."""
    if step >= total:
        return 0.0
    return 0.5 * (1 + math.cos(math.pi * (settings.cycles * (step / total) % 1.0)))
