"""`caption`: a text for every picture."""

from typing import Annotated, Literal

from pydantic import Field

from lorakiln.schema.base import MANY, Settings
from lorakiln.schema.marks import Decides, Private


class CaptionSettings(Settings, decides=Decides.WRITING):
    captioner: Literal["blip", "none"] = Field("blip", description="who writes captions where no .txt stands")
    trigger: Annotated[str, Decides.CAPTIONS, Private.TRIGGER] = Field(
        "", description="words put in front of every caption, such as 'sks dog'"
    )
    trigger_in_files: Annotated[bool, Decides.CAPTIONS] = Field(
        True, description="put the trigger in front of hand-written captions too, if absent"
    )
    prompt: Annotated[str, Private.WORDS] = Field("", description="a beginning that the captioner continues")
    max_new_tokens: int = Field(30, ge=1, le=512)
    num_beams: int = Field(1, ge=1, le=16)
    # A model's last bits depend on the shape of its batch.
    batch_size: int = Field(8, ge=1, le=MANY)
    extensions: Annotated[
        list[Annotated[str, Field(pattern=r"^\.[^/\\\s]+$", max_length=50)]], Decides.CAPTIONS, Private.NO
    ] = Field([".txt", ".caption"], description="caption files beside a picture, the first found wins")
