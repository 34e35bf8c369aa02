"""Weights & Biases."""

from typing import Literal

from lorakiln.schema.trackers import TrackerSettings


class WandbSettings(TrackerSettings):
    kind: Literal["wandb"] = "wandb"
