"""The same rate to the end."""

from typing import Literal

from lorakiln.schema.schedules import SwappableSettings


class ConstantSettings(SwappableSettings):
    kind: Literal["constant"] = "constant"
