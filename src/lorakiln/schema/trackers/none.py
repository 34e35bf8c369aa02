"""No tracker."""

from typing import Literal

from lorakiln.schema.trackers import TrackerSettings


class NoTrackerSettings(TrackerSettings):
    kind: Literal["none"] = "none"
