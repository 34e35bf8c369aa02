"""Weights & Biases, started: the client is imported where its temporary files go with the process."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorakiln.schema.trackers import TrackerSettings
from lorakiln.tracking.protocol import Tracker
from lorakiln.tracking.temporary_files import temporary_files_in


def start(
    settings: TrackerSettings, config: Mapping[str, Any], folder: Path, known: Mapping[str, Any] | None, job: str
) -> Tracker:
    """See `protocol.TrackerKind`."""
    with temporary_files_in(Path(os.environ.get("WANDB_DIR") or folder) / "wandb"):
        from lorakiln.tracking.wandb_tracker import WandbTracker
    return WandbTracker(settings, config, folder, known, job)
