"""Down to zero as (1 - p) ** power."""

from typing import Literal

from lorakiln.schema.schedules import SwappableSettings


class PolynomialSettings(SwappableSettings):
    kind: Literal["polynomial"] = "polynomial"
