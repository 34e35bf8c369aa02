"""Jobs as processes of this machine: one at a time on a CPU, otherwise one for each GPU or set of GPUs."""

from collections.abc import Sequence

from lorakiln.sweep.devices import Claims, list_visible_gpus
from lorakiln.sweep.job_process import Pruner, run_job
from lorakiln.sweep.jobs import Job, Outcome
from lorakiln.sweep.stopping import Stop


class LocalProcesses:
    """Starts jobs here.

    Args:
        at_once: jobs at a time; None: as many as the GPUs allow, or one. There are never two on one GPU.

    Attributes:
        prunes: whether `run` heeds a pruner.
        stop: asks the running jobs to end.
    """

    prunes = True

    def __init__(self, at_once: int | None = None, claims: Claims | None = None) -> None:
        self.at_once, self.stop = at_once, Stop()
        self.claims = claims or Claims(list_visible_gpus())

    def __enter__(self) -> "LocalProcesses":
        return self

    def __exit__(self, *error: object) -> None:
        """Nothing is left over: every `run` waits for its process."""

    def width(self, jobs: Sequence[Job]) -> int:
        """How many of the jobs run at a time."""
        least = min((job.devices for job in jobs), default=1)
        by_gpus = max(1, len(self.claims.gpus) // least)
        if self.claims.gpus:
            return min(self.at_once or by_gpus, by_gpus)
        return self.at_once or 1

    def run(self, job: Job, pruner: Pruner | None = None) -> Outcome:
        """Run a job to its end; called from several threads."""
        return run_job(job, self.stop, self.claims, pruner)
