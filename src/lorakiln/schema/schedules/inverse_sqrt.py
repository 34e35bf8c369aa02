"""Down as 1 / sqrt(step), without an end (arXiv 1706.03762)."""

from typing import Literal

from pydantic import Field

from lorakiln.schema.base import MANY
from lorakiln.schema.schedules import SchedulerSettings


class InverseSqrtSettings(SchedulerSettings):
    kind: Literal["inverse_sqrt"] = "inverse_sqrt"
    timescale: int | None = Field(
        None,
        ge=1,
        le=MANY,
        description="steps; after three times as many the rate is half; null: the warm-up's, or 10,000",
    )
