"""A job that somebody else's machinery starts: submitit on a node of a cluster, Ray in one of its workers."""

import os
import signal
import threading
from collections.abc import Sequence
from typing import Any

from lorakiln.console.errors import UserError
from lorakiln.sweep.devices import Claims
from lorakiln.sweep.job_process import make_start_failure, run_job
from lorakiln.sweep.jobs import Job, Outcome
from lorakiln.sweep.stopping import Stop

# Lightning takes a process below SLURM for one of its ranks; under this name for a shell in which ranks are started.
NOT_A_RANK = {"SLURM_JOB_NAME": "bash"}
STOP = "job.stop"
POLL = 0.2  # seconds


def prepare_job(job: Job) -> Outcome | None:
    """Before a job is handed over: note that it waits, and forget an earlier request to stop.

    Returns:
        None, or how it has failed already: its folder cannot be written.
    """
    try:
        job.record("queued")
        (job.folder / STOP).unlink(missing_ok=True)
    except (OSError, UserError) as error:
        return make_start_failure(job, error)
    return None


def request_stop(job: Job) -> bool:
    """Ask a running job to save and stop, by a file in its folder, which whoever runs it sees; False if it waits still.

    A file, since Ray's own way interrupts no task that waits for a process, and submitit's kills it after a second.
    """
    running = job.recorded().get("status") == "running"
    if running:
        (job.folder / STOP).touch()
    return running


class RemoteJob:
    """Callable without arguments; picklable. SIGTERM, SIGINT, SIGUSR1 and `request_stop` ask the job to save and stop.

    Args:
        gpus: of this machine, to be shared with its other jobs; empty where somebody else hands them out.
    """

    def __init__(self, job: Job, gpus: Sequence[str] = ()) -> None:
        self.job, self.gpus = job, tuple(gpus)
        self._stop: Stop | None = None
        self._thread: threading.Thread | None = None

    def __call__(self) -> Outcome:
        # Paths in the settings are relative to the project.
        os.chdir(self.job.project)
        # In a thread, so that `checkpoint`, which interrupts this one, can wait for the job's end.
        outcomes: list[Outcome] = []
        self._stop = Stop()
        self._thread = threading.Thread(target=self._run, args=(self._stop, outcomes))
        with self._stop.listening():
            self._thread.start()
            while self._thread.is_alive():
                self._thread.join(POLL)
                if not self._stop.asked and (self.job.folder / STOP).exists():
                    self._stop.ask()
        return outcomes[0] if outcomes else Outcome(self.job, "failed", reason="it ended without a word")

    def checkpoint(self) -> Any:
        """What submitit calls before SLURM's time is over: let the job save, and queue it again."""
        import submitit

        if self._stop and self._thread:
            self._stop.ask()
            self._thread.join()
        return submitit.helpers.DelayedSubmission(RemoteJob(self.job, self.gpus))

    def _run(self, stop: Stop, outcomes: list[Outcome]) -> None:
        # SLURM sends submitit's signal to every process of a job, and training would die of it. A process that this
        # thread starts inherits the mask; this process's main thread gets the signal.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        environment = NOT_A_RANK if "SLURM_JOB_ID" in os.environ else {}
        outcomes.append(run_job(self.job, stop, Claims(self.gpus), environment=environment))
