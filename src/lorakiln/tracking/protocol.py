"""What a tracker can do: the place for the numbers, pictures and files of a run besides its own folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from lorakiln.facts.dataset import DatasetFacts
from lorakiln.rows import CaptionedRow


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


class TrackerKind(Protocol):
    """A module `tracking/<kind>.py`; its settings are `schema/trackers/<kind>.py`."""

    def start(
        self, settings: Any, config: Mapping[str, Any], folder: Path, known: Mapping[str, Any] | None, job: str
    ) -> Tracker:
        """A tracker that is ready; see `tracker.start_tracker`.

        The `record` of one that keeps something holds "kind", "id", "project", "url", "folder", "upload_images", and
        whichever more of its settings a later stage needs to go on in it.

        Raises:
            Exception: it cannot start; the work goes on without it.
        """
