"""TensorBoard: event files under tensorboard/, for `tensorboard --logdir tensorboard`."""

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lorakiln.artefacts.pictures import read_picture
from lorakiln.console.errors import UserError
from lorakiln.schema.trackers import TrackerSettings
from lorakiln.tracking.protocol import Tracker


def start(
    settings: TrackerSettings, config: Mapping[str, Any], folder: Path, known: Mapping[str, Any] | None, job: str
) -> Tracker:
    """See `protocol.TrackerKind`."""
    return TensorboardTracker(settings, config, folder, known, job)


class TensorboardTracker(Tracker):
    """One folder of event files a run; export and evaluate add to it."""

    keeps = True

    def __init__(
        self,
        settings: TrackerSettings,
        config: Mapping[str, Any],
        folder: Path,
        known: Mapping[str, Any] | None,
        job: str,
    ) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError("tensorboard is not installed", fix='pip install "lorakiln[tensorboard]"') from error
        self.upload_images = settings.upload_images
        name = known["id"] if known else f"{settings.group or settings.project}-{uuid.uuid4().hex[:8]}"
        # A training that goes on says all again, and what a kill has left is not shown beside it.
        again = 0 if known and job == "train" else None
        self._writer = SummaryWriter(folder / "tensorboard" / name, purge_step=again)
        if config:
            self._writer.add_text(f"settings/{job}", f"```json\n{json.dumps(config, indent=1, default=str)}\n```")
        self.record = {
            "kind": "tensorboard",
            "id": name,
            "project": settings.project,
            "entity": None,
            "url": None,
            "folder": str(folder),
            "upload_images": settings.upload_images,
        }

    def log(self, values: Mapping[str, float], step: int | None = None) -> None:
        for name, value in values.items():
            if isinstance(value, int | float) and name != "step":
                self._writer.add_scalar(name, value, step)

    def images(self, name: str, pictures: Mapping[str, Path], step: int) -> None:
        if self.upload_images:
            for caption, path in pictures.items():
                shades = np.asarray(read_picture(path))
                self._writer.add_image(f"{name}/{caption}", shades, step, dataformats="HWC")

    def finish(self) -> None:
        self._writer.close()
