"""hydra/launcher=processes: every job of a sweep is a plain command in a process of its own.

So several devices work inside a job, the GPU's memory is free between jobs, and one that crashes takes nothing with
it. See docs/sweeps.md.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict


@dataclass
class ProcessesConf:
    _target_: str = "hydra_plugins.lorakiln_launcher.processes.ProcessesLauncher"
    # How many jobs run at once; null: one per GPU, or one where there is none.
    jobs: int | None = None
    # Run finished jobs again.
    again: bool = False


ConfigStore.instance().store(group="hydra/launcher", name="processes", node=ProcessesConf, provider="lorakiln")


class ProcessesLauncher(Launcher):
    """Runs `python -m train <overrides> hydra.run.dir=<folder>` for every job, and sums the sweep up."""

    def __init__(self, jobs: int | None = None, again: bool = False) -> None:
        self.jobs, self.again = jobs, again
        self.config: DictConfig | None = None
        self.context: HydraContext | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from lorakiln.sweep import Job, run_jobs, sum_up

        setup_globals()
        root = Path(str(self.config.hydra.sweep.dir))
        common = set.intersection(*(set(overrides) for overrides in job_overrides))
        jobs = []
        for number, overrides in enumerate(job_overrides, initial_job_idx):
            own = filter_overrides([one for one in overrides if one not in common or len(job_overrides) == 1])
            jobs.append(Job(number, tuple(filter_overrides(overrides)), *self._composed(root, number, overrides, own)))
        outcomes = run_jobs(jobs, root, self.jobs, self.again)
        values = sum_up(outcomes, root)
        single = self.config.hydra.sweeper._target_.endswith("BasicSweeper")
        if single and any(outcome.status == "failed" for outcome in outcomes):
            # What failed and why has been printed; Hydra would add a traceback of its own.
            sys.exit(1)
        return [_returned(outcome, values[outcome.job.folder]) for outcome in outcomes]

    def _composed(
        self, root: Path, number: int, overrides: Sequence[str], own: Sequence[str]
    ) -> tuple[Path, str, dict[str, Any]]:
        """A job's folder, title and settings."""
        config = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        HydraConfig.instance().set_config(config)
        # A value may hold slashes, which are no folders of the sweep's.
        folder = root / (str(config.hydra.sweep.subdir).replace("/", "_")[:200] or str(number))
        task = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        return folder, " ".join(own), OmegaConf.to_container(task, resolve=True)


def _returned(outcome: Any, values: tuple[float, ...] | None) -> JobReturn:
    result = JobReturn(overrides=list(outcome.job.overrides), task_name="train")
    if outcome.status == "failed":
        result.status = JobStatus.FAILED
        result.return_value = RuntimeError(f"{outcome.job.folder}: {outcome.reason}")
    else:
        result.status = JobStatus.COMPLETED
        result.return_value = values
    return result
