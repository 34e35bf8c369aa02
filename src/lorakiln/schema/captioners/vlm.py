"""A vision-language model that transformers knows: BLIP-2, Florence-2, Qwen-VL and others."""

from typing import Annotated, Literal

from pydantic import Field

from lorakiln.schema.captioners import TextModelSettings
from lorakiln.schema.marks import Decides, Names, Private
from lorakiln.schema.model import Source


class VlmSettings(TextModelSettings):
    captioner: Literal["vlm"] = "vlm"
    source: Annotated[Source, Decides.NOTHING, Names.model("captioner of caption.source")] = Field(
        Source(path="Qwen/Qwen2-VL-2B-Instruct"), description="a folder in transformers' layout, or a hub id"
    )
    prompt: Annotated[str | None, Private.WORDS] = Field(  # type: ignore[assignment] # one more than above
        None,
        description="what it is asked: an instruction, a task such as <CAPTION>, or a beginning that it continues; "
        "null: as suits the model",
    )
    max_new_tokens: int = Field(100, ge=1, le=4096)
    batch_size: int = Field(4, ge=1, le=10**9)
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="of the weights; auto: bfloat16 on a GPU, float32 on the CPU"
    )
