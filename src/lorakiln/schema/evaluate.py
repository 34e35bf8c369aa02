"""`evaluate`: what the LoRA does, in numbers and pictures."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lorakiln.schema.base import LARGEST_SIDE, MANY, Seed, Settings
from lorakiln.schema.marks import HERE, Decides, Names, Private
from lorakiln.schema.model import Source

# What `quick` leaves: enough to tell the jobs of a sweep apart, since all draw the same pictures.
QUICK_PROMPTS, QUICK_SEEDS = 8, 2
Weight = Annotated[float, Field(ge=-100, le=100)]


class Classification(Settings):
    """A zero-shot question to CLIP: which of `labels` is this picture?"""

    name: str = Field(min_length=1)
    labels: list[str] = Field(min_length=2, description="what CLIP chooses from")
    answer: str | None = Field(None, description="the label looked for; null: the one whose words the prompt holds")

    @model_validator(mode="after")
    def _answer_is_a_label(self) -> "Classification":
        if self.answer is not None and self.answer not in self.labels:
            raise ValueError(f"answer {self.answer!r} is not among the labels")
        return self


class EvaluateSettings(Settings, decides=Decides.DRAWINGS):
    prompts: Annotated[list[str], Decides.REPORT, Private.WORDS] = Field(
        min_length=1, description="{trigger} stands for the trigger words"
    )
    negative_prompt: Annotated[str, Private.WORDS] = ""
    seeds: Annotated[list[Seed], Decides.REPORT] = Field(
        min_length=1, description="each prompt is drawn with each seed, the same at every weight"
    )
    weights: Annotated[list[Weight], Decides.REPORT] = Field(
        min_length=1, description="LoRA weights at which all prompts are drawn"
    )
    between: Annotated[list[Weight], Decides.REPORT] = Field(
        [0.25, 0.5, 0.75, 1.25], description="more weights, for the grid alone"
    )
    grid_prompts: Annotated[int, Decides.REPORT] = Field(
        4, ge=1, le=MANY, description="how many of the prompts the grids show"
    )
    without_trigger: Annotated[bool, Decides.REPORT] = Field(
        True, description="also draw the grid's prompts without the trigger words"
    )
    classify: Annotated[list[Classification], Decides.REPORT, Private.WORDS] = []
    likeness: Annotated[Source | None, Decides.REPORT, Names.model("likeness model")] = Field(
        None, description="by whose eyes likeness and copies are measured: a path and a revision; null: model.clip's"
    )
    quick: Annotated[bool | None, Decides.REPORT] = Field(
        None,
        description="at most 8 of the prompts, 2 of the seeds, `weights` alone; null: so in a sweep's jobs",
    )
    steps: int = Field(20, ge=1, le=MANY, description="of denoising; at most the model's, 1000")
    guidance: float = Field(5.0, ge=0, le=1000)
    width: Annotated[int | None, HERE] = Field(
        None, gt=0, le=LARGEST_SIDE, description="pixels; null: the model's resolution"
    )
    height: Annotated[int | None, HERE] = Field(None, gt=0, le=LARGEST_SIDE)
    batch_size: int = Field(8, ge=1, le=MANY)
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], HERE] = Field(
        "auto", description="of the base while it draws; auto: fp16 on a GPU, fp32 on a CPU"
    )
    workers: Annotated[int | None, Decides.NOTHING] = Field(
        None, ge=1, le=512, description="processes that draw with a small base on the CPU; null: one per core"
    )
    device: Annotated[str, Private.NO, HERE] = Field("auto", pattern="^(auto|cpu|cuda)$")

    @model_validator(mode="after")
    def _has_a_base(self) -> "EvaluateSettings":
        if 0.0 not in self.weights:
            raise ValueError("weights must hold 0, the base model: without it there is nothing to compare with")
        return self

    def reduced(self) -> "EvaluateSettings":
        """What is drawn: with `quick` a part of it, the same for equal settings. The prompts are evenly spaced."""
        if not self.quick:
            return self
        prompts = self.prompts[:: -(-len(self.prompts) // QUICK_PROMPTS)]
        few = {"prompts": prompts, "seeds": list(dict.fromkeys(self.seeds))[:QUICK_SEEDS]}
        return self.model_copy(update={**few, "between": [], "without_trigger": False})
