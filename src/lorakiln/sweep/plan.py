"""What a sweep is going to do, told before it does: jobs, steps, and what time and disk they may take."""

import contextlib
import shutil
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lorakiln.artefacts.disk import size
from lorakiln.artefacts.records import read_json
from lorakiln.sweep.jobs import STATE, Job

MOST = 40  # of the newest runs, from which is judged


@dataclass(frozen=True)
class Pace:
    """How earlier runs with the same base model went here: medians.

    Attributes:
        runs: how many there were.
        pictures_per_second: of training.
        rest: seconds beside the training steps, for loading, drawing and scoring.
        disk: bytes of a run's folder.
    """

    runs: int
    pictures_per_second: float
    rest: float
    disk: float

    def seconds(self, pictures: float) -> float:
        """What a run that trains on so many pictures may take, from end to end."""
        return pictures / self.pictures_per_second + self.rest


def plan(jobs: Sequence[Job], root: Path, at_once: int, titles: bool = True) -> str:
    """The plan as lines of text.

    Args:
        root: the sweep's folder; runs beside it and in it tell the pace.
        at_once: jobs at a time.
        titles: list the jobs; a search does not know them yet.
    """
    todo = [job for job in jobs if not job.done()]
    before = len(jobs) - len(todo)
    parts = f"{len(todo)} to run{f', {before} finished before' if before else ''}"
    steps, pictures = sum(job.steps for job in todo), sum(map(_pictures, todo))
    lines = [
        f"jobs        {len(jobs)}: {parts}; at most {min(at_once, max(1, len(todo)))} at a time",
        f"steps       {steps:,} in all, {pictures:,} pictures",
        f"time, disk  {_estimate(todo, root, at_once)}",
    ]
    if titles:
        lines += [f"{job.number:<11} {job.title}{_note(job)}" for job in jobs]
    return f"sweep plan, in {root}\n" + "\n".join("  " + line for line in lines)


def _note(job: Job) -> str:
    if job.done():
        return "  (finished)"
    changes = [] if job.again else job.changes()
    return f"  (finished, but again: other {', '.join(changes)})" if changes else ""


def _estimate(todo: Sequence[Job], root: Path, at_once: int) -> str:
    if not todo:
        return "none"
    paces = {model: pace(root.parent, model) for model in {_model(job.settings) for job in todo}}
    if None in paces.values():
        return "told after the first job: there is no finished run with this base model beside it to judge by"
    known = [(job, paces[_model(job.settings)]) for job in todo]
    seconds = sum(one.seconds(_pictures(job)) for job, one in known) / min(at_once, len(todo))
    disk = int(sum(one.disk for _, one in known))
    present = next(path for path in (root, *root.absolute().parents) if path.exists())
    free = shutil.disk_usage(present).free
    runs = sum(one.runs for one in paces.values())
    warning = f"; WARNING: only {size(free)} are free" if disk > free else f" of {size(free)} free"
    return f"about {in_time(seconds)} and {size(disk)}{warning}, judging by {runs} finished run{'s' * (runs > 1)}"


def pace(folder: Path, model: str | None) -> Pace | None:
    """The pace of the newest finished runs below `folder` with this base model; None if there is none."""
    found = list(_finished(folder, model))
    if not found:
        return None
    speeds = [where["pictures_per_second"] for _, where in found]
    rests = [_rest(path, where) for path, where in found]
    sizes = [folder_bytes(path) for path, _ in found]
    return Pace(len(found), statistics.median(speeds), statistics.median(rests), statistics.median(sizes))


def _finished(folder: Path, model: str | None) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A run's folder and its provenance, the newest first."""
    files = sorted(folder.glob("**/run/provenance.json"), key=lambda path: -path.stat().st_mtime)
    for path in files[:MOST]:
        run = path.parent.parent
        settings = run / "resolved.yaml"
        where = read_json(path)
        same = settings.is_file() and _model(yaml.safe_load(settings.read_text("utf-8"))) == model
        # A run that went on from a checkpoint may have trained no step here.
        if same and where.get("steps_here") and where.get("pictures_per_second"):
            yield run, where


def _rest(run: Path, where: dict[str, Any]) -> float:
    """Seconds of a whole job, where it was one of a sweep, or of its training stage, less those of the steps."""
    state = run / STATE
    whole = read_json(state).get("seconds", 0.0) if state.is_file() else 0.0
    steps = where["steps_here"] / where["steps_per_second"]
    return max(whole or where["seconds"], steps) - steps


def folder_bytes(folder: Path) -> int:
    """What a folder takes on the disk, about."""
    total = 0
    for file in folder.rglob("*"):
        # Somebody may be running it again meanwhile.
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


def _pictures(job: Job) -> int:
    return job.steps * int(job.settings.get("train", {}).get("batch_size", 1))


def _model(settings: dict[str, Any]) -> str | None:
    return settings.get("model", {}).get("path")


def in_time(seconds: float) -> str:
    """ "45 s", "12 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
