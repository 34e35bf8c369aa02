"""The smooth absolute error, as in diffusers' and kohya's scripts: all that is far off counts alike."""

from typing import ClassVar, Literal

from lorakiln.schema.objectives import ObjectiveSettings


class SmoothL1Settings(ObjectiveSettings):
    has_threshold: ClassVar[bool] = True
    kind: Literal["smooth_l1"] = "smooth_l1"
