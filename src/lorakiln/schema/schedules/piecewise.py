"""A rate of its own for each stretch of steps."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from lorakiln.schema.base import Count
from lorakiln.schema.schedules import SchedulerSettings


class PiecewiseSettings(SchedulerSettings):
    kind: Literal["piecewise"] = "piecewise"
    boundaries: list[Count] = Field([500, 750], description="steps, rising: the next factor holds from each of them on")
    factors: list[Annotated[float, Field(ge=0, le=1)]] = Field(
        [1.0, 0.5, 0.1], min_length=1, description="on the rate, one more than there are boundaries"
    )

    @model_validator(mode="after")
    def _fit_together(self) -> "PiecewiseSettings":
        if len(self.factors) != len(self.boundaries) + 1:
            raise ValueError(
                f"{len(self.boundaries)} boundaries make {len(self.boundaries) + 1} stretches, and there are "
                f"{len(self.factors)} factors"
            )
        if self.boundaries != sorted(set(self.boundaries)):
            raise ValueError(f"boundaries {self.boundaries} must rise")
        if self.min_lr_ratio:
            raise ValueError("piecewise says all its rates in factors: set min_lr_ratio to 0")
        return self
