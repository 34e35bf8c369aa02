"""What the launchers share: every job of a sweep is a plain command in a process of its own, whoever starts it.

So several devices work inside a job, the GPU's memory is free between jobs, and one that crashes takes nothing with
it. See docs/sweeps.md.
"""

import sys
import threading
from abc import abstractmethod
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from hydra_plugins.lorakiln_conf.composing import explaining_errors, to_plain_settings
from lorakiln.console.errors import UserError
from lorakiln.schema.secrets import check_no_secrets

if TYPE_CHECKING:
    from lorakiln.sweep import Job, Outcome
    from lorakiln.sweep.executor import Executor

LONGEST = 200  # letters of a folder's name
QUICK = "evaluate.quick=true"


class JobLauncher(Launcher):
    """Turns overrides into jobs, has an executor run them, and sums the sweep up.

    Args:
        again: run finished jobs too.
    """

    def __init__(self, again: bool = False) -> None:
        self.again = again
        self._setup: tuple[DictConfig, HydraContext] | None = None
        # Hydra keeps the config that it resolves in one global place.
        self._composing = threading.Lock()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._setup = config, hydra_context

    @abstractmethod
    def executor(self) -> "Executor":
        """Who runs the jobs."""

    @property
    def config(self) -> DictConfig:
        """The sweep's; Hydra gives it after this object is made."""
        assert self._setup is not None, "setup has not been called"
        return self._setup[0]

    @property
    def root(self) -> Path:
        """The sweep's folder."""
        return Path(str(self.config.hydra.sweep.dir))

    @property
    def _name(self) -> str:
        """Of a job that has no other beside it: the experiment's."""
        return str(OmegaConf.select(self.config, "hydra.runtime.choices.experiment") or "custom")

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run one batch of a grid to its end, and sum it up."""
        try:
            return self._launch(job_overrides, initial_job_idx)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            sys.exit(1)

    def _launch(self, job_overrides: Sequence[Sequence[str]], first: int) -> Sequence[JobReturn]:
        from lorakiln.sweep import run_jobs, sum_up
        from lorakiln.sweep.job_checks import check_jobs

        common = set.intersection(*(set(overrides) for overrides in job_overrides))
        jobs = []
        for number, overrides in enumerate(job_overrides, first):
            own = [one for one in overrides if one not in common] or [self._name]
            jobs.append(self.job(number, overrides, own))
        check_jobs(jobs)
        with self.executor() as executor:
            outcomes = run_jobs(jobs, self.root, executor)
        values = sum_up(outcomes, self.root)
        grid = self.config.hydra.sweeper._target_.endswith("BasicSweeper")
        if grid and not all(outcome.has_result for outcome in outcomes):
            print("the same command again runs them, and skips what is finished", flush=True)
            # What failed and why has been printed; Hydra would add a traceback of its own.
            sys.exit(1)
        return [_returned(outcome, values[outcome.job.folder]) for outcome in outcomes]

    def job(self, number: int, overrides: Sequence[str], own: Sequence[str]) -> "Job":
        """Compose a job; may be called from several threads.

        Args:
            own: those of the overrides that set it apart from the sweep's other jobs.
        """
        from lorakiln.sweep import Job

        assert self._setup is not None, "setup has not been called"
        _, context = self._setup
        with self._composing:
            setup_globals()
            config = context.config_loader.load_sweep_config(self.config, list(overrides))
            with open_dict(config):
                config.hydra.job.id = config.hydra.job.num = number
            HydraConfig.instance().set_config(config)
            names = [*_swept_experiment(own), *filter(None, [str(config.hydra.sweep.subdir)])]
            folder = self.root / _folder_name(",".join(names) or str(number))
            task = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
            with explaining_errors(where=" ".join(own)):
                settings = to_plain_settings(task)
            # An interpolation may have fetched one; the job's folder and job.json would hold it.
            check_no_secrets(settings)
        given = tuple(filter_overrides(overrides))
        if settings["evaluate"].get("quick") is None:
            settings["evaluate"]["quick"], given = True, (*given, QUICK)
        titled = tuple(filter_overrides(own))
        return Job(number, given, folder, " ".join(titled), settings, self.again, own=titled)


def _swept_experiment(own: Sequence[str]) -> list[str]:
    """The experiment's name where it sets a job apart: else it is in the name of the sweep's folder already."""
    pairs = [one.partition("=") for one in own]
    return [value for key, _, value in pairs if key.lstrip("+") == "experiment"]


def _folder_name(name: str) -> str:
    """A value may hold slashes, which are no folders of the sweep's, and no system takes names of any length."""
    name = name.replace("/", "_")
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 9]}-{sha256(name.encode()).hexdigest()[:8]}"


def _returned(outcome: "Outcome", values: tuple[float, ...] | None) -> JobReturn:
    result = JobReturn(overrides=list(outcome.job.overrides), task_name="train")
    if outcome.has_result:
        result.status = JobStatus.COMPLETED
        result.return_value = values
    else:
        result.status = JobStatus.FAILED
        result.return_value = RuntimeError(f"{outcome.job.folder}: {outcome.reason}")
    return result
