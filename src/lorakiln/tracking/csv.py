"""The metrics as CSV, which stand in the run's folder in any case: nothing is to be done."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorakiln.schema.trackers import TrackerSettings
from lorakiln.tracking.protocol import Tracker


def start(
    settings: TrackerSettings, config: Mapping[str, Any], folder: Path, known: Mapping[str, Any] | None, job: str
) -> Tracker:
    """A tracker that keeps nothing."""
    return Tracker(settings.kind)
