"""From start_ratio to 1 on half a cosine, then to 0 on another, as torch's OneCycleLR: the last step's is the end.

With T steps, r = rise T - 1 the place of the peak and s the start: s + (1 - s)(1 - cos(pi step / r)) / 2 up to r, and
(1 + cos(pi (step - r) / (T - 1 - r))) / 2 after it.
"""

import math

from lorakiln.schema.schedules.one_cycle import OneCycleSettings

DEPENDS_ON_TOTAL = True


def factor(step: int, total: int, settings: OneCycleSettings) -> float:
    """See `ScheduleKind`."""
    peak, end = settings.rise * total - 1, total - 1
    if step < peak:
        # A part of the highest rate, of which the least one has its part already.
        least = min(settings.min_lr_ratio, 1 - 1e-9)
        start = max(0.0, (settings.start_ratio - least) / (1 - least))
        return start + (1 - start) * 0.5 * (1 - math.cos(math.pi * step / peak))
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - peak) / (end - peak)))) if end > peak else 1.0
