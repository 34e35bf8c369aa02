"""1, and in the last steps, decay_fraction of all, down to 0.

With p their part that is done: 1 - p, (1 + cos(pi p)) / 2 or 1 - sqrt(p).
"""

import math
from collections.abc import Callable

from lorakiln.schema.schedules.wsd import WsdSettings

DEPENDS_ON_TOTAL = True
SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda part: 1 - part,
    "cosine": lambda part: 0.5 * (1 + math.cos(math.pi * part)),
    "1-sqrt": lambda part: 1 - math.sqrt(part),
}


def factor(step: int, total: int, settings: WsdSettings) -> float:
    """See `ScheduleKind`."""
    # Of all steps, those of the warm-up too, and no more than are left after it.
    falling = max(1, min(total, round(settings.decay_fraction * (total + settings.warmup_steps))))
    return SHAPES[settings.decay_shape](min(1.0, max(0.0, (step - (total - falling)) / falling)))
