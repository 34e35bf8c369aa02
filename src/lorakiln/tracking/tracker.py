"""Where the numbers and pictures of a run also go. Training never depends on it: what fails is told once."""

import contextlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorakiln.artefacts.records import read_json
from lorakiln.facts import DatasetFacts
from lorakiln.rows import CaptionedRow
from lorakiln.schema.tracker import TrackerSettings
from lorakiln.tracking.scratch import temporary_files_in

RECORD = "tracker.json"


class Tracker:
    """Keeps nothing: what `csv` and `none` get, since the run folder has its metrics as CSV in any case.

    Attributes:
        record: what tracker.json holds, from which `resume_tracker` finds the run again.
        keeps: whether it is worth the while to compute something for it alone.
    """

    keeps = False

    def __init__(self, kind: str = "none") -> None:
        self.record: dict[str, Any] = {"kind": kind, "id": None, "project": None, "url": None}

    def log(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Numbers by name; `step` counts optimizer steps, None for what belongs to the run as a whole."""

    def images(self, name: str, pictures: Mapping[str, Path], step: int) -> None:
        """Picture files by caption, of the adapter after `step`. Stays at home with `upload_images: false`."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]], step: int) -> None:
        """A table; paths in its cells are pictures. Stays at home with `upload_images: false`."""

    def artifact(
        self, kind: str, name: str, files: Mapping[str, Path], facts: Mapping[str, Any], aliases: Sequence[str] = ()
    ) -> None:
        """Files by their names inside, kept as a version of `name`; `facts` go along."""

    def dataset(self, facts: DatasetFacts, pictures: Path, rows: Sequence[CaptionedRow]) -> None:
        """What the run was trained on, recorded once for each version.

        Args:
            facts: name, hash, number of pictures.
            pictures: the folder that the rows' `file_name`s are in; referred to, not copied.
            rows: metadata.jsonl; captions and pictures stay at home with `upload_images: false`.
        """

    def finish(self) -> None:
        """Send what is left and close."""


class Guarded(Tracker):
    """Hands everything on to another tracker until that fails; then says so once and goes on without it."""

    keeps = True

    def __init__(self, inner: Tracker) -> None:
        self.record = inner.record
        self._inner: Tracker | None = inner

    def log(self, values: Mapping[str, float], step: int | None = None) -> None:
        self._try(lambda inner: inner.log(values, step))

    def images(self, name: str, pictures: Mapping[str, Path], step: int) -> None:
        self._try(lambda inner: inner.images(name, pictures, step))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]], step: int) -> None:
        self._try(lambda inner: inner.table(name, columns, rows, step))

    def artifact(
        self, kind: str, name: str, files: Mapping[str, Path], facts: Mapping[str, Any], aliases: Sequence[str] = ()
    ) -> None:
        self._try(lambda inner: inner.artifact(kind, name, files, facts, aliases))

    def dataset(self, facts: DatasetFacts, pictures: Path, rows: Sequence[CaptionedRow]) -> None:
        self._try(lambda inner: inner.dataset(facts, pictures, rows))

    def finish(self) -> None:
        self._try(lambda inner: inner.finish())

    def _try(self, call: Callable[[Tracker], None]) -> None:
        if self._inner is None:
            return
        try:
            call(self._inner)
        except Exception as error:  # noqa: BLE001 - whatever a tracker's client raises, training goes on
            broken, self._inner = self._inner, None
            _warn(error)
            # What was sent before is closed if it can be: the client may allow one open run alone.
            with contextlib.suppress(Exception):
                broken.finish()


def start_tracker(
    settings: TrackerSettings,
    config: Mapping[str, Any],
    folder: Path,
    known: Mapping[str, Any] | None,
    job: str,
) -> Tracker:
    """The tracker that the settings ask for, started; one that keeps nothing if it cannot start.

    Args:
        config: JSON-able settings, recorded with the run beside those that it has.
        folder: where a client that keeps files may put them.
        known: the `record` of the run to go on with; None begins a new one.
        job: what is running: "train", "export", "evaluate".
    """
    if settings.kind not in ("wandb", "tensorboard"):
        return Tracker(settings.kind)
    try:
        if settings.kind == "tensorboard":
            from lorakiln.tracking.tensorboard_tracker import TensorboardTracker as Chosen
        else:
            with temporary_files_in(Path(os.environ.get("WANDB_DIR") or folder) / "wandb"):
                from lorakiln.tracking.wandb_tracker import WandbTracker as Chosen
        return Guarded(Chosen(settings, config, folder, known, job))
    except Exception as error:  # noqa: BLE001
        _warn(error)
        return Tracker("none")


def resume_tracker(run_folder: Path, job: str, config: Mapping[str, Any] | None = None) -> Tracker:
    """The tracker that a finished run's folder names, to log into the same run; nothing is kept if there is none.

    Args:
        job, config: see `start_tracker`; the config is that of the stage which goes on.
    """
    path = run_folder / RECORD
    record = read_json(path) if path.is_file() else {"kind": "none"}
    if record["kind"] not in ("wandb", "tensorboard"):
        return Tracker(record["kind"])
    settings = TrackerSettings(
        kind=record["kind"],
        project=record["project"],
        entity=record["entity"],
        upload_images=record["upload_images"],
        # Each stage says them again: none can take back what another has said.
        group=record.get("group"),
        name=record.get("name"),
        tags=record.get("tags") or [],
    )
    folder = Path(record["folder"])
    # The run may have come from another machine.
    return start_tracker(settings, config or {}, folder if folder.is_dir() else Path.cwd(), record, job)


def _warn(error: Exception) -> None:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    print(f"warning: tracking stopped ({reason}); the work goes on without it", file=sys.stderr, flush=True)
