"""Warm-up, stable, decay (arXiv 2404.06395)."""

from typing import Literal

from pydantic import Field

from lorakiln.schema.schedules import SchedulerSettings


class WsdSettings(SchedulerSettings):
    kind: Literal["wsd"] = "wsd"
    decay_fraction: float = Field(
        0.2, gt=0, le=1, description="of train.steps, rounded: the last ones, in which it falls"
    )
    decay_shape: Literal["linear", "cosine", "1-sqrt"] = Field("1-sqrt", description="1-sqrt: arXiv 2405.18392")
