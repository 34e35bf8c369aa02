"""Down to zero on a straight line."""

from typing import Literal

from lorakiln.schema.schedules import SwappableSettings


class LinearSettings(SwappableSettings):
    kind: Literal["linear"] = "linear"
