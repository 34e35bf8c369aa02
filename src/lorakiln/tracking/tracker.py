"""Where the numbers and pictures of a run also go. Training never depends on it: what fails is told once."""

import contextlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorakiln.artefacts.json_files import read_json
from lorakiln.facts.dataset import DatasetFacts
from lorakiln.rows import CaptionedRow
from lorakiln.schema.trackers import TRACKERS, TrackerSettings
from lorakiln.tracking.protocol import Tracker

RECORD = "tracker.json"


class SafeTracker(Tracker):
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
    try:
        started = TRACKERS.find(settings.kind).start(settings, config, folder, known, job)
    except Exception as error:  # noqa: BLE001
        _warn(error)
        return Tracker("none")
    return SafeTracker(started) if started.keeps else started


def resume_tracker(run_folder: Path, job: str, config: Mapping[str, Any] | None = None) -> Tracker:
    """The tracker that a finished run's folder names, to log into the same run; nothing is kept if there is none.

    Args:
        job, config: see `start_tracker`; the config is that of the stage which goes on.
    """
    path = run_folder / RECORD
    record = read_json(path) if path.is_file() else {"kind": "none"}
    kind = record["kind"]
    if kind not in TRACKERS.names or "folder" not in record:  # of a package that is not here, or one that keeps nothing
        return Tracker(kind)
    chosen = TRACKERS.settings(kind)
    assert issubclass(chosen, TrackerSettings)  # the registry takes no others
    # Each stage says them again: none can take back what another has said.
    known: dict[str, Any] = {name: record[name] for name in chosen.model_fields if record.get(name) is not None}
    settings = chosen(**known | {"upload_images": record["upload_images"]})  # never by default
    folder = Path(record["folder"])
    # The run may have come from another machine.
    return start_tracker(settings, config or {}, folder if folder.is_dir() else Path.cwd(), record, job)


def _warn(error: Exception) -> None:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    print(f"warning: tracking stopped ({reason}); the work goes on without it", file=sys.stderr, flush=True)
