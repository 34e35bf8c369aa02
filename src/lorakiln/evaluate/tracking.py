"""Scores and grids into the tracker's record of the run. The record is a convenience: nothing here stops a report."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakiln.metrics import list_metrics
from lorakiln.tracking import resume_tracker


@dataclass(frozen=True)
class EvaluatedLora:
    """A LoRA and what was found out about it.

    Attributes:
        step: of training, at which it was saved.
        settings: of the stage, JSON-able.
        metrics: what metrics.json holds.
        main: the weight that the report compares with the base, as it is called in `metrics`.
        grids: the grids' titles by their files' names without the ending.
    """

    name: str
    step: int | None
    settings: dict[str, Any]
    metrics: Mapping[str, Any]
    main: str
    grids: Mapping[str, str]


def track(run: Path, out: Path, evaluated: EvaluatedLora) -> None:
    """Log scores, grids and the report to the run that trained the LoRA; say so if that fails.

    Args:
        out: the report's folder.
    """
    try:
        tracker = resume_tracker(run, "evaluate", {"evaluate": evaluated.settings})
        tracker.log(collect_scores(evaluated), evaluated.step)
        for name, title in evaluated.grids.items():
            # Each under a name of its own: they differ in size, and W&B wants the pictures of one name alike.
            tracker.images(f"evaluate/grids/{name}", {title: out / "grids" / f"{name}.png"}, evaluated.step or 0)
        files = _files(out, tracker.record.get("upload_images", False))
        tracker.artifact("report", f"{evaluated.name}-report", files, {"step": evaluated.step})
        tracker.finish()
    except Exception as error:  # noqa: BLE001 - any tracker, any network, any record
        print(f"tracker: the scores were not logged ({error})", file=sys.stderr, flush=True)


def collect_scores(evaluated: EvaluatedLora) -> dict[str, float]:
    """What is logged: every number there is, and once more those of boards, under names that no weight changes."""
    numbers = {name: value for name, value in flatten(evaluated.metrics).items() if value is not None}
    boards = [metric for metric in list_metrics(None) if metric.board]
    shown = {metric.board: numbers.get(f"{metric.name}/{evaluated.main}/mean") for metric in boards}
    every = numbers | {name: value for name, value in shown.items() if value is not None}
    return {f"evaluate/{name}": value for name, value in every.items()}


def _files(out: Path, pictures: bool) -> dict[str, Path]:
    """The report holds pictures and captions."""
    names = ["metrics.json", "report.html"] if pictures else ["metrics.json"]
    return {name: out / name for name in names}


def flatten(metrics: Mapping[str, Any], path: str = "") -> dict[str, float]:
    """{"clip_score": {"w1.00": {"mean": 2.0}}} -> {"clip_score/w1.00/mean": 2.0}."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        where = f"{path}/{name}" if path else name
        if isinstance(value, Mapping):
            found.update(flatten(value, where))
        else:
            found[where] = value
    return found
