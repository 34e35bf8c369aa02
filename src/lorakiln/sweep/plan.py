"""What a sweep is going to do, told before it does: jobs, steps, and what time and disk they may take."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from lorakiln.artefacts.disk import format_size
from lorakiln.console.counts import format_count
from lorakiln.sweep.cost_estimate import count_pictures as pictures_of
from lorakiln.sweep.cost_estimate import estimate_cost
from lorakiln.sweep.jobs import Job


def format_plan(jobs: Sequence[Job], root: Path, at_once: int, titles: bool = True) -> str:
    """The plan as lines of text.

    Args:
        root: the sweep's folder; runs beside it and in it tell the pace.
        at_once: jobs at a time.
        titles: list the jobs; a search does not know them yet.
    """
    todo = [job for job in jobs if not job.done()]
    before = len(jobs) - len(todo)
    parts = f"{len(todo)} to run{f', {before} finished before' if before else ''}"
    steps, pictures = sum(job.steps for job in todo), sum(pictures_of(job.settings) for job in todo)
    lines = [
        f"jobs        {len(jobs)}: {parts}; at most {min(at_once, max(1, len(todo)))} at a time",
        f"steps       {steps:,} in all, {format_count(pictures, 'picture', ',')}",
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
    found = estimate_cost(todo, root.parent)
    if found.unknown:
        return "told after the first job: there is no finished run with this base model beside it to judge by"
    present = next(path for path in (root, *root.absolute().parents) if path.exists())
    free = shutil.disk_usage(present).free
    warning = f"; WARNING: only {format_size(free)} are free" if found.disk > free else f" of {format_size(free)} free"
    judged = f"judging by {found.runs} finished run{'s' * (found.runs > 1)}"
    seconds = found.seconds / min(at_once, len(todo))
    return f"about {format_time(seconds)} and {format_size(int(found.disk))}{warning}, {judged}"


def format_time(seconds: float) -> str:
    """ "45 s", "12 min", "3.5 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
