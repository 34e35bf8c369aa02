"""TensorBoard's event files."""

from typing import Annotated, Literal

from lorakiln.schema.marks import Decides
from lorakiln.schema.trackers import TrackerSettings


class TensorboardSettings(TrackerSettings):
    kind: Annotated[Literal["tensorboard"], Decides.TRACKER] = "tensorboard"
