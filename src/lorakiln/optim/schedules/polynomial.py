"""(1 - p) ** power, with p = step / total: to zero, where diffusers stops at a rate of 1e-7."""

from lorakiln.schema.schedules.polynomial import PolynomialSettings

DEPENDS_ON_TOTAL = True


def factor(step: int, total: int, settings: PolynomialSettings) -> float:
    """See `ScheduleKind`."""
    left = 1 - min(1.0, step / total)
    return float(left**settings.power)
