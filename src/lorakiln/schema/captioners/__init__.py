"""`caption`: a text for every picture; one file for the settings of each kind of captioner."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lorakiln.schema.base import MANY, Settings
from lorakiln.schema.caption_steps import CaptionRule
from lorakiln.schema.marks import Decides, Names, Private
from lorakiln.schema.model import Source
from lorakiln.schema.registry import Registry


class CaptionSettings(Settings, decides=Decides.WRITING):
    """What is the same whoever writes."""

    captioner: str = Field(description="who writes captions where no .txt stands")
    # Keys hold what the captioner says of its model instead.
    source: Annotated[Source | None, Decides.NOTHING, Names.model("captioner of caption.source")] = Field(
        None, description="where the captioner's model is: a path and a revision; null: as model.captioner says"
    )
    trigger: Annotated[str, Decides.CAPTIONS, Private.TRIGGER] = Field(
        "", description="words put in front of every caption, such as 'sks dog'"
    )
    trigger_in_files: Annotated[bool, Decides.CAPTIONS] = Field(
        True, description="put the trigger in front of hand-written captions too, if absent"
    )
    extensions: Annotated[
        list[Annotated[str, Field(pattern=r"^\.[^/\\\s]+$", max_length=50)]], Decides.CAPTIONS, Private.NO
    ] = Field([".txt", ".caption"], description="caption files beside a picture, in any case; the first found wins")
    precedence: Annotated[list[Literal["edit", "sidecar", "metadata", "tags"]], Decides.CAPTIONS] = Field(
        ["edit", "sidecar", "metadata", "tags"],
        description="where captions are looked for before the captioner is asked, the first found wins: a hand edit, a "
        "file beside the picture, its row of metadata.jsonl or .csv, a booru's .json; what is left out is not read",
    )
    lines: Annotated[bool, Decides.CAPTIONS] = Field(
        False, description="each line of a caption file is a caption, of which training draws one; else it is one text"
    )
    prefix: Annotated[str, Decides.CAPTIONS, Private.WORDS] = Field(
        "", description="put in front of every caption, behind the trigger words, with a space between"
    )
    suffix: Annotated[str, Decides.CAPTIONS, Private.WORDS] = Field("", description="put behind every caption")
    rules: Annotated[list[CaptionRule], Decides.CAPTIONS, Private.WORDS] = Field(
        [],
        description="what is done to every caption, in this order; prefix, suffix and trigger come last if not named",
    )
    class_tokens: Annotated[str, Decides.CAPTIONS, Private.WORDS] = Field(
        "", description="the caption of a picture that has none, with captioner=none"
    )

    @model_validator(mode="after")
    def _someone_writes(self) -> "CaptionSettings":
        if self.class_tokens and self.captioner != "none":
            raise ValueError(
                f"class_tokens {self.class_tokens!r} has no meaning with the captioner {self.captioner}, which writes "
                "a caption for every picture that has none: take caption=none"
            )
        return self


class TextModelSettings(CaptionSettings):
    """What a model has that writes word by word."""

    prompt: Annotated[str, Private.WORDS] = Field("", description="a beginning that the captioner continues")
    max_new_tokens: int = Field(30, ge=1, le=512)
    num_beams: int = Field(1, ge=1, le=16)
    repetition_penalty: float = Field(
        1.0, ge=1, le=10, description="above 1: what was written already is less likely to come again"
    )
    no_repeat_ngram_size: int = Field(
        0, ge=0, le=512, description="so many tokens in a row come only once; 0: as often as the model likes"
    )
    # A model's last bits depend on the shape of its batch.
    batch_size: int = Field(8, ge=1, le=MANY)


CAPTIONERS: Registry[Any] = Registry(
    "captioner", code="lorakiln.captioners", settings=__name__, base=CaptionSettings, key="captioner"
)
