"""What somebody has said by hand of one picture: cat.png.edit.yaml beside cat.png."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from lorakiln.schema.base import Settings
from lorakiln.schema.marks import Private

LONGEST = 100_000  # letters of a caption
Edge = Annotated[int, Field(ge=0, le=10**6)]


class PictureEdit(Settings):
    """A hand edit; what is not said stays as it is.

    Attributes:
        caption: takes the place of all other captions; its lines are captions of their own with caption.lines.
        crop: left, top, right and bottom in pixels of the upright picture: only this of it is used.
        excluded: the picture is not used.
    """

    caption: Annotated[str | None, Private.WORDS] = Field(None, max_length=LONGEST)
    crop: list[Edge] | None = Field(None, min_length=4, max_length=4)
    excluded: bool = False

    @property
    def box(self) -> tuple[int, int, int, int] | None:
        """The crop."""
        if self.crop is None:
            return None
        left, top, right, bottom = self.crop
        return left, top, right, bottom

    @field_validator("caption")
    @classmethod
    def _says_something(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or "\0" in value):
            raise ValueError("no text: write one, or remove the key")
        return value

    @field_validator("crop")
    @classmethod
    def _holds_pixels(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and not (value[0] < value[2] and value[1] < value[3]):
            raise ValueError("holds no pixels: it is [left, top, right, bottom], with left < right and top < bottom")
        return value

    @model_validator(mode="after")
    def _edits_something(self) -> "PictureEdit":
        if not self.model_fields_set:
            raise ValueError("says nothing: write caption, crop or excluded, or remove the file")
        return self
