"""A study that several processes share and that goes on after a kill. Imported only with `hydra/sweeper=optuna`."""

import os
import platform
import threading
import uuid
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from lorakiln.console.errors import UserError
from lorakiln.schema.secrets import mask_secrets
from lorakiln.sweep.objectives import is_less_better

OWNER = "owner"
ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class SearchSettings:
    """What conf/hydra/sweeper/optuna.yaml says of the search."""

    objectives: Sequence[str]
    trials: int
    seed: int
    startup_trials: int
    prune_startup_trials: int
    prune_warmup_steps: int


class SharedStudy:
    """An Optuna study, its trials claimed one by one under a lock; used by several threads and processes.

    Each process that takes part holds a lock file for as long as it lives; trials whose owner's lock is free were cut
    off, and go on in whichever process finds them.

    Args:
        folder: the sweep's.
        name: of the study.
        storage: an SQLAlchemy URL.
        space: the distributions by override key.

    Raises:
        UserError: the storage cannot be opened, or holds a study of this name with other objectives.
    """

    def __init__(
        self, folder: Path, name: str, storage: str, space: Mapping[str, BaseDistribution], settings: SearchSettings
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self.folder, self.name, self.storage, self.space, self.settings = folder, name, storage, dict(space), settings
        self._mine: dict[int, Trial] = {}
        self._thread_lock = threading.Lock()
        self._owner = f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        with self._alone():
            self.study = self._open()

    def _open(self) -> optuna.Study:
        names = list(self.settings.objectives)
        directions = ["minimize" if is_less_better(name) else "maximize" for name in names]
        try:
            study = optuna.create_study(
                storage=self.storage,
                study_name=self.name,
                directions=directions,
                load_if_exists=True,
                pruner=optuna.pruners.MedianPruner(
                    self.settings.prune_startup_trials, self.settings.prune_warmup_steps
                ),
            )
        except Exception as error:  # noqa: BLE001 - SQLAlchemy's own and those of whichever database it is
            what = mask_secrets(" ".join(str(error).split())[:300])
            raise UserError(what, where=mask_secrets(self.storage), fix="mend hydra.sweeper.storage") from error
        if study.metric_names not in (None, names):
            raise UserError(
                f"the study {self.name} looks for {', '.join(study.metric_names)}",
                where=mask_secrets(self.storage),
                fix="set hydra.sweeper.study to a new name",
            )
        study.set_metric_names(names)
        return study

    @contextmanager
    def join_study(self) -> Iterator[None]:
        """While this process takes trials."""
        path = self._owner_file(self._owner)
        path.parent.mkdir(exist_ok=True)
        with FileLock(path):
            yield
        path.unlink(missing_ok=True)

    def ended(self) -> list[FrozenTrial]:
        """The trials that have ended, well or not, of all processes."""
        return self.study.get_trials(deepcopy=False, states=ENDED)

    def next_trial(self) -> int | None:
        """Claim a trial: one that was cut off, or a new one; None if the study has all that are wanted."""
        with self._alone():
            trials = self.study.get_trials(deepcopy=False)
            cut_off = [one for one in trials if one.state == TrialState.RUNNING and self._is_abandoned(one)]
            if cut_off:
                trial = Trial(self.study, cut_off[0]._trial_id)
            elif len(trials) < self.settings.trials:
                # A sampler seeded alike in two processes would draw the same in both.
                self.study.sampler = optuna.samplers.TPESampler(
                    seed=self.settings.seed + len(trials),
                    n_startup_trials=self.settings.startup_trials,
                    constant_liar=True,
                )
                trial = self.study.ask(self.space)
            else:
                return None
            trial.set_user_attr(OWNER, self._owner)
            self._mine[trial.number] = trial
            return trial.number

    def overrides_of(self, number: int) -> list[str]:
        """A trial's settings as Hydra overrides."""
        params = self.study.get_trials(deepcopy=False)[number].params
        return [format_override(key, value) for key, value in params.items()]

    def should_prune_trial(self, number: int, step: int, loss: float) -> bool:
        """Note a validation loss; whether it is worse than the median of the other trials at this step."""
        with self._alone():
            trial = self._mine[number]
            # The pruner takes what is reported for the objective, and its direction with it.
            sign = 1 if self.study.direction == StudyDirection.MINIMIZE else -1
            trial.report(sign * loss, step)
            return trial.should_prune()

    def tell(self, number: int, values: Sequence[float]) -> None:
        """The trial has a result."""
        with self._alone():
            self.study.tell(number, list(values), skip_if_finished=True)

    def tell_without_result(self, number: int, pruned: bool) -> None:
        """The trial was pruned, or it failed."""
        with self._alone():
            state = TrialState.PRUNED if pruned else TrialState.FAIL
            self.study.tell(number, state=state, skip_if_finished=True)

    def _is_abandoned(self, trial: FrozenTrial) -> bool:
        if trial.number in self._mine:
            return False
        path = self._owner_file(trial.user_attrs.get(OWNER, "nobody"))
        if not path.exists():
            return True
        try:
            FileLock(path).acquire(blocking=False).lock.release()
        except Timeout:
            return False
        return True

    def _owner_file(self, name: str) -> Path:
        return self.folder / "owners" / name

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._thread_lock, FileLock(self.folder / "search.lock"):
            yield


def format_override(key: str, value: str | int | float | None) -> str:
    """ "train.optimizer.lr=0.000123457": real numbers with six digits, which name folders too."""
    return f"{key}={value:.6g}" if isinstance(value, float) else f"{key}={value}"
