"""AdamW without a schedule (arXiv 2405.15682)."""

from typing import Annotated, Literal

from pydantic import Field

from lorakiln.schema.base import Fraction
from lorakiln.schema.optimizers import Beta, OptimizerSettings


class ScheduleFreeSettings(OptimizerSettings):
    kind: Literal["schedule_free"] = "schedule_free"
    betas: Annotated[tuple[Fraction, Beta], Field(strict=False)] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0, le=1)
    weight_decay: float = Field(0.01, ge=0, le=100)
    r: float = Field(0.0, ge=0, le=100, description="a step counts for the mean as its number ** r")
    weight_lr_power: float = Field(2.0, ge=0, le=100, description="and as the highest rate so far ** this")
