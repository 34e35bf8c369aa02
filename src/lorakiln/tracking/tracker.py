"""Where the numbers and pictures of a run also go. Training never depends on it: what fails is told once."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lorakiln.artefacts.records import read_json
from lorakiln.schema.tracker import TrackerSettings

RECORD = "tracker.json"


class Tracker:
    """Keeps nothing: what `csv` and `none` get, since the run folder has its metrics as CSV in any case.

    Attributes:
        record: what tracker.json holds, from which `resume_tracker` finds the run again.
    """

    def __init__(self, kind: str = "none") -> None:
        self.record: dict[str, Any] = {"kind": kind, "id": None, "project": None, "url": None}

    def log(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Numbers by name; `step` counts optimizer steps, None for what belongs to the run as a whole."""

    def images(self, name: str, pictures: Mapping[str, Path], step: int | None = None) -> None:
        """Picture files by caption. Stays at home with `upload_images: false`."""

    def finish(self) -> None:
        """Send what is left and close."""


class Guarded(Tracker):
    """Hands everything on to another tracker until that fails; then says so once and goes on without it."""

    def __init__(self, inner: Tracker) -> None:
        self.record = inner.record
        self._inner: Tracker | None = inner

    def log(self, values: Mapping[str, float], step: int | None = None) -> None:
        self._try(lambda inner: inner.log(values, step))

    def images(self, name: str, pictures: Mapping[str, Path], step: int | None = None) -> None:
        self._try(lambda inner: inner.images(name, pictures, step))

    def finish(self) -> None:
        self._try(lambda inner: inner.finish())

    def _try(self, call: Callable[[Tracker], None]) -> None:
        if self._inner is None:
            return
        try:
            call(self._inner)
        except Exception as error:  # noqa: BLE001 - whatever a tracker's client raises, training goes on
            self._inner = None
            _warn(error)


def start_tracker(
    settings: TrackerSettings,
    config: Mapping[str, Any],
    folder: Path,
    known: Mapping[str, Any] | None,
    job: str,
) -> Tracker:
    """The tracker that the settings ask for, started; one that keeps nothing if it cannot start.

    Args:
        config: JSON-able settings, recorded with the run.
        folder: where a client that keeps files may put them.
        known: the `record` of the run to go on with; None begins a new one.
        job: what is running: "train", "export", "evaluate".
    """
    if settings.kind != "wandb":
        return Tracker(settings.kind)
    try:
        from lorakiln.tracking.wandb_tracker import WandbTracker

        return Guarded(WandbTracker(settings, config, folder, known, job))
    except Exception as error:  # noqa: BLE001
        _warn(error)
        return Tracker("none")


def resume_tracker(run_folder: Path, job: str = "evaluate") -> Tracker:
    """The tracker that a finished run's folder names, to log into the same run; nothing is kept if there is none."""
    path = run_folder / RECORD
    record = read_json(path) if path.is_file() else {"kind": "none"}
    if record["kind"] != "wandb":
        return Tracker(record["kind"])
    settings = TrackerSettings(
        kind="wandb",
        project=record["project"],
        entity=record["entity"],
        upload_images=record["upload_images"],
    )
    folder = Path(record["folder"])
    # The run may have come from another machine.
    return start_tracker(settings, {}, folder if folder.is_dir() else Path.cwd(), record, job)


def _warn(error: Exception) -> None:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    print(f"warning: tracking stopped ({reason}); the work goes on without it", file=sys.stderr, flush=True)
