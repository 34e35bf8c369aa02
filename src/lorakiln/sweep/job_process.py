"""Run one job as a process of its own, with its own log, and say how it ended."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

from lorakiln.console.errors import UserError
from lorakiln.console.exit_signals import SIGNALS
from lorakiln.sweep.devices import Claims
from lorakiln.sweep.jobs import LOG, Job, Outcome
from lorakiln.sweep.stopping import Stop
from lorakiln.tracking.live_losses import LIVE, read_live_losses

POLL = 0.2  # seconds
NOT_STARTED = "not started: the sweep was interrupted"
# 128 + the signal: what `train` ends with after it has saved a checkpoint.
SAVED = {128 + number for number in SIGNALS}
# Given every new (step, validation loss) of the job; True ends it.
Pruner = Callable[[int, float], bool]


def run_job(
    job: Job,
    stop: Stop,
    claims: Claims | None = None,
    pruner: Pruner | None = None,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Run a job that is not done yet. Waits while another process runs it, and then finds it done.

    Args:
        claims: hands out this machine's GPUs; None where somebody else has done so (SLURM, Ray).
        environment: more variables for the job.

    Returns:
        Never raises for what the job or the disk does.
    """
    try:
        if job.done():
            return Outcome(job, "skipped")
        with _held(job, stop) as lock, (claims or Claims([])).claim(job.devices, stop) as claimed:
            if lock is None or claimed is None:
                return Outcome(job, "stopped", reason=NOT_STARTED)
            if job.done():
                return Outcome(job, "skipped")
            variables, locks = claimed
            return _run(job, {**(environment or {}), **variables}, [lock, *locks], stop, pruner)
    except (OSError, UserError) as error:
        return make_start_failure(job, error)


def make_start_failure(job: Job, error: Exception) -> Outcome:
    """The outcome of a job whose folder cannot be written, or that asks for what is not there."""
    return Outcome(job, "failed", reason=f"it could not be started: {' '.join(str(error).split())}")


@contextmanager
def _held(job: Job, stop: Stop) -> Iterator[int | None]:
    """Hold the job's lock, which its process inherits: it is held for as long as that lives, whatever becomes of us."""
    job.folder.mkdir(parents=True, exist_ok=True)
    with (job.folder / "job.lock").open("w") as file:
        while not stop.asked:
            # Freed by closing the file alone: to unlock it would take it from the job's process too.
            if lock_descriptor(file.fileno(), blocking=False):
                yield file.fileno()
                return
            stop.wait(POLL)
        yield None


def _run(job: Job, environment: Mapping[str, str], locks: Sequence[int], stop: Stop, pruner: Pruner | None) -> Outcome:
    # Read before the job reads them: what changes meanwhile is seen the next time.
    made_of = job.sources()
    job.record("running")
    live = job.folder / "validation.live"
    live.unlink(missing_ok=True)
    watched = {LIVE: str(live.absolute())} if pruner else {}
    start = time.monotonic()
    with (job.folder / LOG).open("a") as log:
        # What an earlier try printed may say why there is another.
        log.write(_heading(log.tell()))
        log.flush()
        begin = log.tell()
        process = subprocess.Popen(
            job.command,
            cwd=job.project,
            env={**os.environ, **environment, **watched},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=locks,
            # A Ctrl-C at the terminal goes to the sweep alone, which passes it on once.
            start_new_session=True,
        )
        hopeless = _wait(process, stop, pruner, live)
    outcome = _outcome(job, process.returncode, hopeless, stop, time.monotonic() - start, begin)
    more = {"reason": outcome.reason} if outcome.reason else {}
    # A model may have been fetched by the job itself.
    known = {name: one or job.sources()[name] for name, one in made_of.items()}
    job.record(outcome.status, seconds=round(outcome.seconds, 1), sources=known, **more)
    return outcome


def _wait(process: subprocess.Popen[Any], stop: Stop, pruner: Pruner | None, live: Path) -> bool:
    """Wait for the end; True if the pruner asked for it."""
    told, seen, hopeless = 0, 0, False
    while process.poll() is None:
        try:
            if stop.count > told:
                told = stop.count
                process.send_signal(stop.signal)
            if pruner and not hopeless:
                seen, hopeless = _ask_pruner(pruner, live, seen)
                if hopeless:
                    process.terminate()
            time.sleep(POLL)
        except KeyboardInterrupt:
            # How Ray asks a worker to stop.
            stop.ask(signal.SIGINT)
    if pruner and not hopeless:
        # What came after the last look: a run that has ended is what the next ones are compared with, at every step.
        _ask_pruner(pruner, live, seen)
    return hopeless


def _ask_pruner(pruner: Pruner, live: Path, seen: int) -> tuple[int, bool]:
    """Tell the pruner the losses after the first `seen`; how many there are now, and whether the run is hopeless."""
    rows = read_live_losses(live)
    return len(rows), any(pruner(step, loss) for step, loss in rows[seen:])


def _heading(written: int) -> str:
    """The line before another try's output in the same log."""
    return f"\n==== again, {datetime.now().astimezone().isoformat(' ', 'seconds')} ====\n" if written else ""


def _outcome(job: Job, status: int, hopeless: bool, stop: Stop, seconds: float, begin: int) -> Outcome:
    if status == 0:
        return Outcome(job, "finished", seconds)
    if hopeless:
        return Outcome(job, "pruned", seconds, "its validation loss was worse than most at the same step")
    if stop.asked and (status in SAVED or -status in SIGNALS):
        return Outcome(job, "stopped", seconds, "interrupted")
    return Outcome(job, "failed", seconds, f"status {status}: {_last_words(job.folder / LOG, begin)}")


def _last_words(log: Path, begin: int) -> str:
    """The job's own error message, or the last line it printed, after so many bytes of its log."""
    text = log.read_bytes()[begin:].decode("utf-8", "replace")
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    if errors:
        return " ".join(line.strip() for line in lines[errors[-1] : errors[-1] + 4])
    return lines[-1] if lines else "it printed nothing"
