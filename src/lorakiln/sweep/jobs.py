"""Run a sweep's jobs, each a command of its own, one after the other or one per GPU."""

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lorakiln.artefacts.hashing import hash_data
from lorakiln.artefacts.records import read_json, write_json

STATE = "job.json"
LOG = "job.log"
STEPS = re.compile(r'"steps_per_second": ([0-9.]+)')


@dataclass(frozen=True)
class Job:
    """One setting of the sweep.

    Attributes:
        overrides: as on Hydra's command line, the experiment among them.
        folder: where the job writes, and nothing else does.
        title: what sets it apart from the sweep's other jobs.
        settings: the whole composed config.
    """

    number: int
    overrides: tuple[str, ...]
    folder: Path
    title: str
    settings: dict[str, Any]

    @property
    def command(self) -> list[str]:
        """The job as one can also run it by hand."""
        folder = str(self.folder).replace("'", "\\'")
        return [sys.executable, "-m", "train", *self.overrides, f"hydra.run.dir='{folder}'"]

    @property
    def key(self) -> str:
        return hash_data(self.settings)

    @property
    def steps(self) -> int:
        return int(self.settings.get("train", {}).get("steps", 0))

    def finished(self) -> bool:
        """Whether a run of exactly these settings has ended well here."""
        state = self.folder / STATE
        if not state.exists() or not (self.folder / "report" / "metrics.json").exists():
            return False
        found = read_json(state)
        return found.get("status") == "finished" and found.get("settings") == self.key


@dataclass(frozen=True)
class Outcome:
    """How a job ended; `seconds` is 0 for one that was finished before, `reason` is empty unless it failed."""

    job: Job
    status: Literal["finished", "skipped", "failed"]
    seconds: float = 0.0
    reason: str = ""


def run_jobs(jobs: Sequence[Job], root: Path, at_once: int | None = None, again: bool = False) -> list[Outcome]:
    """Run what is not finished yet; one failing job does not sink the others.

    A job that was interrupted goes on from its last checkpoint, since `train` finds it by the settings.

    Args:
        at_once: null: one per GPU that is visible, or one. Each GPU runs one job at a time.
        again: run finished jobs too.
    """
    slots = _slots(at_once)
    print(plan(jobs, root, len(slots), again), flush=True)
    free: queue.Queue[dict[str, str]] = queue.Queue()
    for slot in slots:
        free.put(slot)
    running = Running()
    started = time.monotonic()

    def one(job: Job) -> Outcome:
        if job.finished() and not again:
            return Outcome(job, "skipped")
        environment = free.get()
        try:
            return _run(job, environment, running)
        finally:
            free.put(environment)

    outcomes = []
    with running.stopped_by_signals(), ThreadPoolExecutor(len(slots)) as pool:
        for outcome in pool.map(one, jobs):
            outcomes.append(outcome)
            print(_line(outcome, outcomes, len(jobs), time.monotonic() - started), flush=True)
    return outcomes


def plan(jobs: Sequence[Job], root: Path, at_once: int, again: bool) -> str:
    """What is going to happen, before it does; the time from the speed of finished runs beside it, if there are."""
    todo = [job for job in jobs if again or not job.finished()]
    steps = sum(job.steps for job in todo)
    lines = [
        f"sweep: {len(jobs)} jobs, {len(jobs) - len(todo)} of them finished before; "
        f"{steps:,} training steps to do, {at_once} at once, in {root}"
    ]
    if speed := _speed(root.parent):
        minutes = steps / speed / at_once / 60
        lines.append(f"  training alone takes about {minutes:.0f} min at {speed:.1f} steps/s, as runs beside it did")
    lines += [f"  {job.number}: {job.title}{'' if job in todo else '  (finished)'}" for job in jobs]
    return "\n".join(lines)


def _speed(folder: Path) -> float | None:
    """Median steps a second of the runs below `folder`."""
    found = []
    for path in folder.glob("**/run/provenance.json"):
        found += [float(value) for value in STEPS.findall(path.read_text("utf-8"))]
    return sorted(found)[len(found) // 2] if found else None


class Running:
    """The processes that run now, so that a signal reaches them all."""

    def __init__(self) -> None:
        self._processes: set[subprocess.Popen] = set()
        self._lock = threading.Lock()
        self.stopped: int | None = None

    @contextmanager
    def __call__(self, process: subprocess.Popen) -> Iterator[None]:
        with self._lock:
            self._processes.add(process)
        try:
            yield
        finally:
            with self._lock:
                self._processes.discard(process)

    def stop(self, number: int, frame: object = None) -> None:
        """Pass a signal on; no further job starts. The jobs save their state and end."""
        self.stopped = number
        with self._lock:
            for process in self._processes:
                process.send_signal(number)

    @contextmanager
    def stopped_by_signals(self) -> Iterator[None]:
        old = {number: signal.signal(number, self.stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)
        if self.stopped is not None:
            print("sweep: interrupted; the same command goes on where it was", file=sys.stderr, flush=True)
            sys.exit(128 + self.stopped)


def _run(job: Job, environment: dict[str, str], running: Running) -> Outcome:
    if running.stopped is not None:
        return Outcome(job, "failed", reason="not started: the sweep was interrupted")
    job.folder.mkdir(parents=True, exist_ok=True)
    write_json(job.folder / STATE, {"status": "running", "settings": job.key, "command": job.command})
    start = time.monotonic()
    with (job.folder / LOG).open("w") as log:
        process = subprocess.Popen(
            job.command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **environment},
            # A Ctrl-C at the terminal goes to the sweep alone, which passes it on once.
            start_new_session=True,
        )  # fmt: skip
        with running(process):
            if running.stopped is not None:
                process.send_signal(running.stopped)
            status = process.wait()
    seconds = time.monotonic() - start
    reason = "" if status == 0 else f"status {status}: {_reason(job.folder / LOG)}"
    outcome = Outcome(job, "failed" if status else "finished", seconds, reason)
    state = {"status": outcome.status, "settings": job.key, "command": job.command, "seconds": round(seconds, 1)}
    write_json(job.folder / STATE, state | ({"reason": reason} if reason else {}))
    return outcome


def _reason(log: Path) -> str:
    """The job's own error message, or the last line it printed."""
    lines = [line.rstrip() for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    if errors:
        return " ".join(line.strip() for line in lines[errors[-1] : errors[-1] + 4])
    return lines[-1] if lines else "it printed nothing"


def _slots(at_once: int | None) -> list[dict[str, str]]:
    """The environments of the jobs that may run at the same time: with GPUs, one GPU each."""
    import torch

    if gpus := torch.cuda.device_count():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        names = visible.split(",")[:gpus] if visible else [str(number) for number in range(gpus)]
        if at_once == 1:
            return [{}]  # one job with all of them, for trainer=ddp
        return [{"CUDA_VISIBLE_DEVICES": name} for name in names[: at_once or gpus]]
    return [{}] * (at_once or 1)


def _line(outcome: Outcome, outcomes: Sequence[Outcome], total: int, spent: float) -> str:
    said = {"finished": f"finished in {outcome.seconds:.0f} s", "skipped": "finished before", "failed": "FAILED"}
    text = f"sweep {len(outcomes)}/{total}  {outcome.job.title}: {said[outcome.status]}"
    run = [one for one in outcomes if one.status != "skipped"]
    if run and len(outcomes) < total:
        text += f"; about {spent / len(run) * (total - len(outcomes)) / 60:.0f} min left"
    return text + (f"\n  {outcome.reason}\n  log: {outcome.job.folder / LOG}" if outcome.status == "failed" else "")
