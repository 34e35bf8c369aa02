"""`encode`: latents and text embeddings, and every variant that training draws from."""

from typing import Annotated, Literal

from pydantic import Field

from lorakiln.schema.base import MANY, Settings
from lorakiln.schema.marks import HERE, Decides


class EncodeSettings(Settings, decides=Decides.TENSORS):
    flip: Annotated[bool, Decides.LATENTS] = Field(
        False, description="also encode every picture mirrored left to right"
    )
    clip_skip: Annotated[int, Decides.EMBEDDINGS] = Field(
        0, ge=0, le=11, description="how many of the text encoder's last layers to skip"
    )
    max_tokens: Annotated[Literal[75, 150, 225], Decides.EMBEDDINGS] = Field(
        75, description="of a prompt that are read, in chunks of 75; what is longer is cut off, and said"
    )
    batch_size: int = Field(8, ge=1, le=MANY)
    dtype: Literal["float32", "float16"] = Field("float32", description="of the stored tensors")
    device: Annotated[Literal["auto", "cpu", "cuda"], HERE] = "auto"
