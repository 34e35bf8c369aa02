"""The absolute error."""

from typing import Literal

from lorakiln.schema.objectives import ObjectiveSettings


class L1Settings(ObjectiveSettings):
    kind: Literal["l1"] = "l1"
