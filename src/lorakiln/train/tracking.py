"""The tracker's record of a training: what it is called, and what it is told of the settings."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.console.errors import UserError
from lorakiln.rows import Index
from lorakiln.schema.marks import Decides, select_decided
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.train import TrainSettings
from lorakiln.tracking.tracker import Tracker, start_tracker
from lorakiln.train.remeasuring import select_recording
from lorakiln.train.results import read_git_state


def begin_tracking(
    settings: TrainSettings,
    index: Index,
    lineage: Mapping[str, Any],
    folder: Path,
    known: Mapping[str, Any] | None = None,
) -> Tracker:
    """Start the tracker that the settings ask for.

    Args:
        index: of the encoded pictures.
        lineage: the settings of this stage and of all before it, by stage.
        folder: of the project: the client's files stand beside the cache, in the main checkout, where those of
            `dvc exp run --temp` outlive the copy that it works in.
        known: the record to go on in; None begins a new one.
    """
    shown = settings.tracker
    tags = list(dict.fromkeys([*shown.tags, *_tags(settings, index)]))
    # W&B finds the commit by itself, but not where it may not look (`upload_images: false`).
    config = {**lineage, "dataset": index.dataset.to_dict(), "base": index.base.to_dict(), "git": read_git_state()}
    shown = shown.model_copy(update={"tags": tags}).named()
    return start_tracker(shown, config, folder, known, "train")


def known_record(path: Path, settings: TrainSettings, model: ModelSettings, job: str | None) -> dict[str, Any] | None:
    """The record that `keep_record` has left; None where there is none, or one of another kind, place or job."""
    try:
        known = read_json(path)
    except FileNotFoundError:
        return None
    except UserError as error:
        print(f"warning: {error.where}: {error.what}; tracking starts a record of its own", file=sys.stderr)
        return None
    return known if all(known.get(name) == value for name, value in _marks(settings, model, job).items()) else None


def keep_record(path: Path, tracker: Tracker, settings: TrainSettings, model: ModelSettings, job: str | None) -> None:
    """Note, beside the checkpoints, the record that a run goes on in if it is cut off.

    Args:
        job: the sweep's job that the record is of.
    """
    write_json(path, {**tracker.record, **_marks(settings, model, job)})


def _marks(settings: TrainSettings, model: ModelSettings, job: str | None) -> dict[str, Any]:
    """What one record has one of."""
    recording = select_recording(settings, model)
    return {**select_decided(settings.tracker, Decides.TRACKER), "job": job, "recording": recording}


def _tags(settings: TrainSettings, index: Index) -> list[str]:
    """What runs are sorted by; W&B takes no more than 64 letters."""
    adapter, base = settings.adapter, Path(index.base.path).name
    return [tag[:64] for tag in (base, adapter.kind, f"rank {adapter.rank}", index.dataset.name)]
