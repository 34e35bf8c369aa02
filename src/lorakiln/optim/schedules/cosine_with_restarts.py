"""d ** n (1 + cos(pi x)) / 2, with n + x = cycles step / total, n whole and d = cycle_decay; 0 from the end on."""

import math

from lorakiln.schema.schedules.cosine_with_restarts import CosineWithRestartsSettings

DEPENDS_ON_TOTAL = True


def factor(step: int, total: int, settings: CosineWithRestartsSettings) -> float:
    """See `ScheduleKind`."""
    if step >= total:
        return 0.0
    place = settings.cycles * (step / total)
    peak = settings.cycle_decay ** math.floor(place)
    return peak * 0.5 * (1 + math.cos(math.pi * (place % 1.0)))
