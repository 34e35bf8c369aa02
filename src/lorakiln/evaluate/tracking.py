"""Scores and grids into the tracker's record of the run. The record is a convenience: nothing here stops a report."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorakiln.tracking import resume_tracker


def track(run: Path, out: Path, name: str, metrics: Mapping[str, Any], grids: Mapping[str, Path]) -> None:
    """Log `metrics`, the grids (file by caption) and the report to the run that trained the LoRA; say so if that fails.

    Args:
        out: the report's folder.
        name: of the LoRA.
    """
    try:
        tracker = resume_tracker(run)
        tracker.log({f"evaluate/{name}": value for name, value in flat(metrics).items()})
        tracker.images("evaluate/grids", grids)
        tracker.artifact("report", f"{name}-report", _files(out, tracker.record.get("upload_images", False)), {})
        tracker.finish()
    except Exception as error:  # noqa: BLE001 - any tracker, any network, any record
        print(f"tracker: the scores were not logged ({error})", file=sys.stderr, flush=True)


def _files(out: Path, pictures: bool) -> dict[str, Path]:
    """The report holds pictures and captions."""
    names = ["metrics.json", "report.html"] if pictures else ["metrics.json"]
    return {name: out / name for name in names}


def flat(metrics: Mapping[str, Any], path: str = "") -> dict[str, float]:
    """{"clip_score": {"w1.00": {"mean": 2.0}}} -> {"clip_score/w1.00/mean": 2.0}."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        where = f"{path}/{name}" if path else name
        if isinstance(value, Mapping):
            found.update(flat(value, where))
        else:
            found[where] = value
    return found
