"""What a sweep asks of whoever runs its jobs: this machine, SLURM or Ray."""

from collections.abc import Sequence
from typing import Protocol

from lorakiln.sweep.job_process import Pruner
from lorakiln.sweep.jobs import Job, Outcome
from lorakiln.sweep.stopping import Stop


class Executor(Protocol):
    """Entered before the first job, left after the last.

    Attributes:
        prunes: whether `run` heeds a pruner.
        stop: asks the running jobs to end.
    """

    prunes: bool
    stop: Stop

    def __enter__(self) -> "Executor":
        """Raises UserError if what it needs is not there."""

    def __exit__(self, *error: object) -> None: ...

    def width(self, jobs: Sequence[Job]) -> int:
        """How many of the jobs run, or wait to run, at a time."""

    def run(self, job: Job, pruner: Pruner | None = None) -> Outcome:
        """Run a job to its end; called from several threads."""
