"""`hydra/launcher=processes`: jobs on this machine."""

from typing import TYPE_CHECKING

from hydra_plugins.lorakiln_launcher.launcher import JobLauncher

if TYPE_CHECKING:
    from lorakiln.sweep.executor import Executor


class ProcessesLauncher(JobLauncher):
    """See conf/hydra/launcher/processes.yaml for the arguments."""

    def __init__(self, jobs: int | None = None, again: bool = False) -> None:
        super().__init__(again)
        self.jobs = jobs

    def executor(self) -> "Executor":
        from lorakiln.sweep.local_jobs import LocalProcesses

        return LocalProcesses(self.jobs)
