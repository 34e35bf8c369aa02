"""No tracker."""

from typing import Annotated, Literal

from lorakiln.schema.marks import Decides
from lorakiln.schema.trackers import TrackerSettings


class NoTrackerSettings(TrackerSettings):
    kind: Annotated[Literal["none"], Decides.TRACKER] = "none"
