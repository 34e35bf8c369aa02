"""Weights & Biases."""

from typing import Annotated, Literal

from lorakiln.schema.marks import Decides
from lorakiln.schema.trackers import TrackerSettings


class WandbSettings(TrackerSettings):
    kind: Annotated[Literal["wandb"], Decides.TRACKER] = "wandb"
