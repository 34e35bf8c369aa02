"""`hydra/launcher=submitit_slurm` and `submitit_local`: each job a SLURM job, or a process as SLURM would start it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from omegaconf import OmegaConf

from hydra_plugins.lorakiln_launcher.launcher import JobLauncher

if TYPE_CHECKING:
    from lorakiln.sweep.executor import Executor


class SubmititLauncher(JobLauncher):
    """See conf/hydra/launcher/submitit_slurm.yaml for the arguments."""

    def __init__(self, cluster: str, jobs: int, parameters: Mapping[str, Any], again: bool = False) -> None:
        super().__init__(again)
        self.cluster, self.jobs = cluster, jobs
        self.parameters = cast(dict[str, Any], OmegaConf.to_container(OmegaConf.create(dict(parameters))))

    def executor(self) -> "Executor":
        from lorakiln.sweep.submitit_jobs import SubmititJobs

        return SubmititJobs(self.cluster, self.root / "submitit", self.jobs, self.parameters)
