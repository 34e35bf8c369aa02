"""`hydra/launcher=ray`: each job a task of a Ray cluster, or of one started here for the sweep."""

from typing import TYPE_CHECKING

from hydra_plugins.lorakiln_launcher.launcher import JobLauncher

if TYPE_CHECKING:
    from lorakiln.sweep.executor import Executor


class RayLauncher(JobLauncher):
    """See conf/hydra/launcher/ray.yaml for the arguments."""

    def __init__(
        self, address: str | None, cpus_per_job: float, cpus: int | None, jobs: int, again: bool = False
    ) -> None:
        super().__init__(again)
        self.address, self.cpus_per_job, self.cpus, self.jobs = address, cpus_per_job, cpus, jobs

    def executor(self) -> "Executor":
        from lorakiln.sweep.ray_jobs import RayJobs

        return RayJobs(self.address, self.cpus_per_job, self.cpus, self.jobs)
