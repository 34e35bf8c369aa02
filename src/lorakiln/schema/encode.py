"""`encode`: latents and text embeddings, and every variant that training draws from, of pictures and of captions."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from lorakiln.schema.augment import AugmentSettings
from lorakiln.schema.base import MANY, Settings
from lorakiln.schema.caption_rules import CaptionRules
from lorakiln.schema.marks import HERE, Decides


class EncodeSettings(Settings, decides=Decides.TENSORS):
    flip: Annotated[bool, Decides.LATENTS] = Field(
        False, description="also encode every picture mirrored left to right"
    )
    augment: AugmentSettings = AugmentSettings()
    clip_skip: Annotated[int, Decides.EMBEDDINGS] = Field(
        1, ge=1, le=12, description="which of the text encoder's layers is read, from the end; 1: none is skipped"
    )
    max_tokens: Annotated[Literal[75, 150, 225], Decides.EMBEDDINGS] = Field(
        75, description="of a prompt that are read, in chunks of 75; what is longer is cut off, and said"
    )
    captions: CaptionRules = CaptionRules()
    batch_size: int = Field(8, ge=1, le=MANY)
    dtype: Literal["float32", "float16"] = Field("float32", description="of the stored tensors")
    device: Annotated[Literal["auto", "cpu", "cuda"], HERE] = "auto"

    @field_validator("clip_skip", mode="before")
    @classmethod
    def _counts_from_one(cls, value: object) -> object:
        if value == 0 and not isinstance(value, bool):
            raise ValueError("counts from the end: 1 is the last layer, 2 the one before (what was 0 is 1, and 1 is 2)")
        return value
