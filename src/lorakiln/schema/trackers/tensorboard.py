"""TensorBoard's event files."""

from typing import Literal

from lorakiln.schema.trackers import TrackerSettings


class TensorboardSettings(TrackerSettings):
    kind: Literal["tensorboard"] = "tensorboard"
