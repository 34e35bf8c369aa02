"""The squared error."""

from typing import Literal

from lorakiln.schema.objectives import ObjectiveSettings


class MseSettings(ObjectiveSettings):
    kind: Literal["mse"] = "mse"
