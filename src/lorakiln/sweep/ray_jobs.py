"""Jobs as tasks of a Ray cluster, or of one that is started on this machine for the sweep."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorakiln.console.errors import UserError
from lorakiln.sweep.devices import list_visible_gpus
from lorakiln.sweep.job_process import NOT_STARTED, Pruner
from lorakiln.sweep.jobs import Job, Outcome
from lorakiln.sweep.remote_job import RemoteJob, prepare_job, request_stop
from lorakiln.sweep.stopping import Stop

POLL = 0.5  # seconds


class RayJobs:
    """Ray gives every job its CPUs and GPUs; the project's folder must be at the same place on all its nodes.

    Args:
        address: of a running cluster, or "auto"; None starts one here.
        cpus_per_job: Ray's reckoning of a job's CPUs.
        cpus: of a cluster that is started here; None: all.
        at_once: jobs that wait or run at a time.
    """

    prunes = False

    def __init__(self, address: str | None, cpus_per_job: float, cpus: int | None, at_once: int) -> None:
        self.address, self.cpus_per_job, self.cpus, self.at_once = address, cpus_per_job, cpus, at_once
        self.stop = Stop()
        self._ray: Any = None
        self._gpus = False

    def __enter__(self) -> "RayJobs":
        # Nothing is reported to Ray's makers.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise UserError(
                "Ray is not installed", where="hydra/launcher=ray", fix="pip install 'lorakiln[ray]'"
            ) from error
        paths = [str(Path(path).resolve()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        environment: dict[str, Any] = {"env_vars": {"PYTHONPATH": os.pathsep.join(paths)}} if paths else {}
        here: dict[str, Any] = {"include_dashboard": False, "num_cpus": self.cpus, "num_gpus": len(list_visible_gpus())}
        try:
            ray.init(
                address=self.address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env=environment,
                **({} if self.address else here),
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(
                " ".join(str(error).split()), where="hydra.launcher.address", fix="start the cluster, or leave it null"
            ) from error
        has = ray.cluster_resources()
        self._ray, self._gpus = ray, bool(has.get("GPU"))
        if not self.address and self.cpus_per_job > has.get("CPU", 0):
            ray.shutdown()
            raise UserError(
                f"a job takes {self.cpus_per_job:g} CPUs, and Ray has {has.get('CPU', 0):g}: it would wait for ever",
                where="hydra.launcher.cpus_per_job",
                fix="ask for fewer, or raise hydra.launcher.cpus",
            )
        return self

    def __exit__(self, *error: object) -> None:
        self._ray.shutdown()

    def width(self, jobs: Sequence[Job]) -> int:
        """As many as this machine's CPUs and GPUs are enough for; of a running cluster as many as may wait."""
        if self.address:
            # One that grows by what waits must be shown that something waits.
            return self.at_once
        has = self._ray.cluster_resources()
        by_cpus = int(has.get("CPU", 0) / self.cpus_per_job) if self.cpus_per_job else self.at_once
        by_gpus = int(has["GPU"] / min((job.devices for job in jobs), default=1)) if self._gpus else by_cpus
        return max(1, min(self.at_once, by_cpus, by_gpus))

    def run(self, job: Job, pruner: Pruner | None = None) -> Outcome:
        """Give a job to Ray and wait for its end; called from several threads. There is no pruning."""
        if job.done():
            return Outcome(job, "skipped")
        if self.stop.asked:
            return Outcome(job, "stopped", reason=NOT_STARTED)
        if trouble := prepare_job(job):
            return trouble
        wants = {"num_cpus": self.cpus_per_job, "num_gpus": job.devices if self._gpus else 0, "max_retries": 0}
        task = self._ray.remote(**wants)(_call).remote(RemoteJob(job))
        while not self._ray.wait([task], timeout=POLL)[0]:
            if self.stop.asked and not request_stop(job):
                self._ray.cancel(task)
        try:
            outcome: Outcome = self._ray.get(task)
            return outcome
        except (self._ray.exceptions.RayError, KeyboardInterrupt) as error:
            if self.stop.asked:
                return Outcome(job, "stopped", reason="interrupted")
            said = (str(error).strip().splitlines() or [type(error).__name__])[-1]
            return Outcome(job, "failed", reason=f"Ray: {said}")


def _call(job: RemoteJob) -> Outcome:
    return job()
