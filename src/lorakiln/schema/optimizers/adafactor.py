"""Adafactor (arXiv 1804.04235), with the names and defaults of transformers' but for the two that find a rate."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lorakiln.schema.optimizers import Beta, Epsilon, OptimizerSettings


class AdafactorSettings(OptimizerSettings):
    kind: Literal["adafactor"] = "adafactor"
    eps: Annotated[tuple[Epsilon, Epsilon], Field(strict=False)] = Field(
        (1e-30, 1e-3), description="added to the square of a gradient; the least scale of a tensor"
    )
    clip_threshold: float = Field(1.0, gt=0, le=1e6, description="of the root mean square of a tensor's update")
    decay_rate: float = Field(-0.8, ge=-10, lt=0, description="the second moment's beta is 1 - step ** decay_rate")
    beta1: Beta | None = Field(None, description="of a first moment; null: none is kept")
    weight_decay: float = Field(0.0, ge=0, le=100)
    scale_parameter: bool = Field(False, description="a tensor's rate is in proportion to its root mean square")
    relative_step: bool = Field(
        False, description="the rate is lr x min(0.01, 1 / sqrt(step)): lr is a factor, usually 1"
    )
    warmup_init: bool = Field(False, description="with relative_step: 1e-6 x step in place of 0.01")

    @property
    def finds_rate(self) -> bool:
        return self.relative_step

    @model_validator(mode="after")
    def _warms_up_a_relative_step(self) -> "AdafactorSettings":
        if self.warmup_init and not self.relative_step:
            raise ValueError(
                "warmup_init is of relative_step, which is false; train.scheduler.warmup_steps warms up lr"
            )
        return self
