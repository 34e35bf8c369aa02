"""The pseudo-Huber loss, as in diffusers' and kohya's scripts: less is made of what is far off."""

from typing import Literal

from lorakiln.schema.objectives import ObjectiveSettings


class HuberSettings(ObjectiveSettings):
    kind: Literal["huber"] = "huber"
