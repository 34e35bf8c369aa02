"""What `encode` draws of every picture beside the plain one: crops and colours."""

from typing import Literal

from pydantic import Field, model_validator

from lorakiln.schema.base import Settings
from lorakiln.schema.marks import Decides

VARIANTS = 6  # of a picture, where somebody wants what other programs draw anew each time
COLOURS = ("brightness", "contrast", "saturation", "hue", "gamma")


class AugmentSettings(Settings, decides=Decides.LATENTS):
    """Of each range r a variant draws evenly from [1 - r, 1 + r], of hue's from [-hue, hue]."""

    variants: int = Field(
        0, ge=0, le=64, description="so many beside the plain picture, each with draws of its own; 0: none"
    )
    crop: Literal["centre", "random", "face"] = Field(
        "centre",
        description="random: anywhere in what prepare.margin has kept; face: around the face that prepare.face found",
    )
    brightness: float = Field(0.0, ge=0, lt=1, description="range of the factor on all values")
    contrast: float = Field(0.0, ge=0, lt=1, description="range of the factor on the distance from the mean grey")
    saturation: float = Field(0.0, ge=0, le=1, description="range of the factor on the distance from the pixel's grey")
    hue: float = Field(0.0, ge=0, le=180, description="range of the turn of all hues, degrees")
    gamma: float = Field(0.0, ge=0, lt=1, description="range of the power of all values")

    @property
    def changes_colour(self) -> bool:
        return any(getattr(self, name) for name in COLOURS)

    def list_changes(self) -> dict[str, str | float]:
        """What is drawn, with its range."""
        fields = type(self).model_fields
        return {name: getattr(self, name) for name in ("crop", *COLOURS) if getattr(self, name) != fields[name].default}

    @model_validator(mode="after")
    def _draws_something(self) -> "AugmentSettings":
        changes = self.list_changes()
        if self.variants and not changes:
            raise ValueError(
                f"variants {self.variants} would all be the plain picture: set crop=random or a range, such as "
                "brightness=0.1, or variants=0"
            )
        if changes and not self.variants:
            raise ValueError(f"{', '.join(changes)} without variants: say how many are drawn, such as variants=4")
        return self
