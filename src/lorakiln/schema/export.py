"""`export`: the files that other programs load."""

from typing import Annotated, Literal

from pydantic import Field

from lorakiln.schema.base import Count, Name, Settings
from lorakiln.schema.marks import Decides, Private


class ExportSettings(Settings, decides=Decides.FILE):
    name: Annotated[Name | None, Private.NO] = Field(
        None, pattern=r"^[^/\\]+$", description="of the LoRA file; null: the dataset's name"
    )
    which: Literal["auto", "last", "best", "recommended", "all"] | Count = Field(
        "auto",
        description="recommended: the step that `choose` says to use, else the last; best: lowest validation loss "
        "among the saved; auto: best with train.early_stopping, else recommended; a number: that step, if it was saved",
    )
    weights: Literal["auto", "raw", "ema"] = Field(
        "auto", description="of a training with train.ema: the average or the weights themselves; auto: the average"
    )
    strength: float = Field(
        1.0, gt=0, le=2, description="how much of what was trained the file does at weight 1: alpha is multiplied by it"
    )
    precision: Literal["fp32", "fp16", "bf16"] = "fp16"
    private: bool = Field(False, description="leave out folder names, captions and pictures")
    push_to_hub: Annotated[str | None, Decides.NOTHING, Private.NAME] = Field(
        None, pattern=r"^[\w.-]+/[\w.-]+$", description="a repository of the Hugging Face Hub to send it to, private"
    )
    timestamps: bool = Field(False, description="put when it was trained into the file, whose bytes then never repeat")
    license: Annotated[str | None, Private.NO] = Field(None, description="of the LoRA: in the card and in the file")
    base_model: Annotated[str | None, Private.NO] = Field(
        None,
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="what the card names as the base, a model of the Hugging Face Hub; null: model.path if it is one",
    )
    embeddings: Literal["file", "bundle", "both"] = Field(
        "both",
        description="of a training with train.tokens: each word as a file of its own in `embeddings`, as a bundle in "
        "the LoRA's file, which A1111, Forge and OneTrainer read, or both",
    )
    previews: int = Field(4, ge=0, le=16, description="sample pictures in the model card")
