"""A tagger of WD's form (SmilingWolf): tags of a booru, each with how sure it is."""

from typing import Annotated, Literal

from pydantic import Field

from lorakiln.schema.base import MANY
from lorakiln.schema.captioners import CaptionSettings
from lorakiln.schema.marks import Decides, Names, Private
from lorakiln.schema.model import Source

Tags = list[Annotated[str, Field(min_length=1, max_length=200)]]


class TaggerSettings(CaptionSettings):
    captioner: Literal["tagger"] = "tagger"
    source: Annotated[Source, Decides.NOTHING, Names.model("captioner of caption.source")] = Field(
        Source(path="SmilingWolf/wd-vit-tagger-v3"),
        description="a folder or a hub id with model.onnx and selected_tags.csv",
    )
    general_threshold: float = Field(0.35, ge=0, le=1, description="tags that are less sure are left out")
    character_threshold: float | None = Field(
        0.85, ge=0, le=1, description="the same of characters' names; null: none of them"
    )
    excluded_tags: Annotated[Tags, Private.WORDS] = Field(
        [], description="never written, such as what the LoRA absorbs"
    )
    replaced_tags: Annotated[dict[str, str], Private.WORDS] = Field({}, description="tags by what is written for them")
    underscores: bool = Field(False, description="leave them in tags; else they are spaces, but for faces: ^_^")
    order: Literal["score", "alphabet", "list"] = Field(
        "score", description="the surest tag first, by the alphabet, or as the tagger lists them"
    )
    characters_first: bool = Field(True, description="characters' names go before all other tags")
    first_tags: Annotated[Tags, Private.WORDS] = Field(
        [], description="go before all others where they are found, such as 1girl"
    )
    # A network's last bits depend on the shape of its batch.
    batch_size: int = Field(8, ge=1, le=MANY)
