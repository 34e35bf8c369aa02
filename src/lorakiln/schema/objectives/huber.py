"""The pseudo-Huber loss, as in diffusers' and kohya's scripts: less is made of what is far off."""

from typing import ClassVar, Literal

from lorakiln.schema.objectives import ObjectiveSettings


class HuberSettings(ObjectiveSettings):
    has_threshold: ClassVar[bool] = True
    kind: Literal["huber"] = "huber"
