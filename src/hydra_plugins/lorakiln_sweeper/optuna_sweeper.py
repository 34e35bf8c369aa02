"""`hydra/sweeper=optuna`: a search over the settings that the command line gives as intervals, ranges and choices."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from hydra_plugins.lorakiln_launcher.launcher import JobLauncher
from hydra_plugins.lorakiln_sweeper.space import make_sample_overrides, make_search_space
from lorakiln.artefacts.hashing import hash_data
from lorakiln.console.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from lorakiln.sweep.jobs import Job
    from lorakiln.sweep.search import Search


class OptunaSweeper(Sweeper):
    """TPE in a study that lives in the sweep's folder: the same command goes on, from several terminals at once too.

    The arguments: see conf/hydra/sweeper/optuna.yaml.
    """

    def __init__(
        self,
        objectives: Sequence[str],
        trials: int,
        seed: int,
        startup_trials: int,
        prune: bool,
        prune_startup_trials: int,
        prune_warmup_steps: int,
        storage: str | None,
        study: str | None,
        params: Mapping[str, str] | None,
    ) -> None:
        self.objectives, self.trials, self.seed, self.startup_trials = list(objectives), trials, seed, startup_trials
        self.prune, self.prune_startup_trials, self.prune_warmup_steps = prune, prune_startup_trials, prune_warmup_steps
        self.storage, self.study, self.params = storage, study, dict(params or {})

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.context = config, hydra_context
        launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )
        self.launcher: Launcher = launcher

    def sweep(self, arguments: list[str]) -> None:
        """Run trials until there are as many as wanted, then sum all up.

        Raises:
            SystemExit: 1 if a trial failed or something was wrong, 128 + the signal if one stopped the search.
        """
        try:
            failed = self._sweep(arguments)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            sys.exit(1)
        if failed:
            sys.exit(1)

    def _sweep(self, arguments: list[str]) -> bool:
        from lorakiln.sweep import sum_up

        launcher = self._checked()
        search = self._search(arguments, launcher)
        search.run()
        # Equal settings are one job.
        outcomes = list({outcome.job.folder: outcome for outcome in search.outcomes()}.values())
        sum_up(outcomes, launcher.root, self.objectives)
        return any(outcome.status == "failed" for outcome in outcomes)

    def _checked(self) -> JobLauncher:
        if not isinstance(self.launcher, JobLauncher):
            raise UserError(
                f"{type(self.launcher).__name__} keeps no record of its jobs",
                where="hydra/launcher",
                fix="use processes, submitit_local, submitit_slurm or ray",
            )
        if self.prune and len(self.objectives) > 1:
            raise UserError(
                f"runs cannot be pruned for several objectives ({', '.join(self.objectives)})",
                where="hydra.sweeper.prune",
                fix="set one: hydra.sweeper.objectives=[likeness]",
            )
        return self.launcher

    def _search(self, arguments: list[str], launcher: JobLauncher) -> "Search":
        try:
            import optuna  # noqa: F401
        except ImportError as error:
            raise UserError(
                "Optuna is not installed", where="hydra/sweeper=optuna", fix="pip install 'lorakiln[sweeps]'"
            ) from error
        from lorakiln.sweep.job_checks import check_jobs, check_objectives
        from lorakiln.sweep.search import Search
        from lorakiln.sweep.study import SearchSettings, SharedStudy

        parser = OverridesParser.create(config_loader=self.context.config_loader)
        own = [f"{key}={value}" for key, value in self.params.items()]
        fixed, space = make_search_space(parser.parse_overrides([*own, *arguments]))
        samples = [launcher.job(0, [*fixed, *own], own) for own in make_sample_overrides(space)]
        check_jobs(samples)
        check_objectives(samples, self.objectives, self.prune)
        root = launcher.root.absolute()
        root.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, root / "multirun.yaml")
        settings = SearchSettings(
            self.objectives,
            self.trials,
            self.seed,
            self.startup_trials,
            self.prune_startup_trials,
            self.prune_warmup_steps,
        )
        study = SharedStudy(
            root,
            self.study or self._name(samples[0], space),
            self.storage or f"sqlite:///{root / 'search.db'}",
            space,
            settings,
        )
        return Search(study, launcher, fixed, self.prune)

    def _name(self, job: "Job", space: Mapping[str, "BaseDistribution"]) -> str:
        """The study's: trials of other settings, pictures or code, or for other objectives, cannot be compared, and
        are another study.

        Args:
            job: which takes the first value of everything.
        """
        searched = sorted((key, repr(values)) for key, values in space.items())
        # Of models nothing: the first job may have to fetch its own before they can be told.
        made_of = job.sources()
        known = [made_of.get(name) for name in ("pictures or captions", "program")]
        return f"search-{hash_data(job.key, known, searched, self.objectives)[:8]}"
