"""Jobs through submitit: SLURM jobs, or processes of this machine that are started as SLURM would start them."""

import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lorakiln.console.errors import UserError
from lorakiln.sweep.devices import list_visible_gpus
from lorakiln.sweep.job_process import NOT_STARTED, Pruner, make_start_failure
from lorakiln.sweep.jobs import Job, Outcome
from lorakiln.sweep.remote_job import RemoteJob, prepare_job, request_stop
from lorakiln.sweep.stopping import Stop

POLL = 0.5  # seconds
TIMEOUTS = 1000  # how often a job may come to the end of its time and be queued again


class SubmititJobs:
    """Submits jobs and waits for them.

    Args:
        cluster: "slurm" or "local".
        folder: for submitit's files.
        at_once: jobs that are queued or run at a time.
        parameters: as submitit's `update_parameters` takes them; null ones are left out.
    """

    prunes = False

    def __init__(self, cluster: str, folder: Path, at_once: int, parameters: Mapping[str, Any]) -> None:
        self.cluster, self.folder, self.at_once = cluster, folder.absolute(), at_once
        self.parameters = {key: value for key, value in parameters.items() if value is not None}
        self.stop, self._lock = Stop(), threading.Lock()
        # Submitit hides them from local jobs, which share them by our own locks.
        self._gpus = list_visible_gpus() if cluster == "local" else []

    def __enter__(self) -> "SubmititJobs":
        self._executor(1)
        return self

    def __exit__(self, *error: object) -> None:
        """Submitit keeps nothing open."""

    def width(self, jobs: Sequence[Job]) -> int:
        return self.at_once

    def run(self, job: Job, pruner: Pruner | None = None) -> Outcome:
        """Submit a job and wait for its end; called from several threads. There is no pruning."""
        if job.done():
            return Outcome(job, "skipped")
        if self.stop.asked:
            return Outcome(job, "stopped", reason=NOT_STARTED)
        if job.settings.get("train", {}).get("trainer", {}).get("num_nodes", 1) > 1:
            return Outcome(job, "failed", reason="a job of several nodes is started by srun: docs/scaling.md")
        if trouble := prepare_job(job):
            return trouble
        try:
            with self._lock:
                handle = self._executor(job.devices).submit(RemoteJob(job, self._gpus))
        except (RuntimeError, OSError) as error:
            # What sbatch refuses.
            return make_start_failure(job, error)
        print(f"sweep: submitted {handle.job_id}: {job.title}", flush=True)
        asked = 0
        while not handle.done():
            gently = self.stop.asked and request_stop(job) and not asked
            if self.stop.count > asked and not gently:
                handle.cancel()
            asked = self.stop.count
            time.sleep(POLL)
        return self._outcome(job, handle)

    def _executor(self, devices: int) -> Any:
        try:
            import submitit
        except ImportError as error:
            raise UserError(
                "submitit is not installed", where="hydra/launcher", fix="pip install 'lorakiln[sweeps]'"
            ) from error
        limit = {f"{self.cluster}_max_num_timeout": TIMEOUTS}
        try:
            executor = submitit.AutoExecutor(folder=self.folder / "%j", cluster=self.cluster, **limit)
            # One task on one node: a job starts its other processes itself.
            executor.update_parameters(**{"nodes": 1, "tasks_per_node": 1, **self._asked(devices), **self.parameters})
        except (RuntimeError, NameError, TypeError, ValueError, AssertionError) as error:
            raise UserError(
                " ".join(str(error).split()),
                where=f"hydra/launcher=submitit_{self.cluster}",
                fix="mend hydra.launcher.parameters, or run this on a SLURM login node",
            ) from error
        return executor

    def _asked(self, devices: int) -> dict[str, Any]:
        return {"gpus_per_node": devices} if self.cluster == "slurm" else {}

    def _outcome(self, job: Job, handle: Any) -> Outcome:
        error = handle.exception()
        if error is None:
            outcome: Outcome = handle.result()
            return outcome
        if self.stop.asked:
            return Outcome(job, "stopped", reason="interrupted")
        said = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        return Outcome(job, "failed", reason=f"{said} ({handle.paths.stderr})")
