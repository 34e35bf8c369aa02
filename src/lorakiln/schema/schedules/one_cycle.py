"""Up on half a cosine and down to the least rate on another, the 1cycle policy (arXiv 1708.07120)."""

from typing import Literal

from pydantic import Field, model_validator

from lorakiln.schema.schedules import SchedulerSettings


class OneCycleSettings(SchedulerSettings):
    kind: Literal["one_cycle"] = "one_cycle"
    rise: float = Field(0.3, gt=0, lt=1, description="the part of the steps in which the rate rises")
    start_ratio: float = Field(0.04, ge=0, le=1, description="the first rate, as a part of the highest")

    @model_validator(mode="after")
    def _rises_by_itself(self) -> "OneCycleSettings":
        if self.warmup_steps or self.warmup_fraction:
            raise ValueError("one_cycle warms up by itself: set rise and start_ratio, and no warm-up")
        return self
