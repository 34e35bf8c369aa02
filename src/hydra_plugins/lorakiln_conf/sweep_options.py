"""What a sweep's launcher and sweeper may be told: settings under `hydra`, which are none of the whole config's."""

from typing import Annotated

from omegaconf import DictConfig, ListConfig
from pydantic import Field

from lorakiln.schema.base import MANY, Count, Settings, check


class ProcessesOptions(Settings):
    """Those of `hydra/launcher=processes`."""

    jobs: Count | None
    again: bool


class RayOptions(Settings):
    address: str | None
    cpus_per_job: Annotated[float, Field(gt=0, le=MANY)]
    cpus: Count | None
    jobs: Count
    again: bool


class SubmititOptions(Settings):
    """Without `parameters`, which submitit checks."""

    cluster: str
    jobs: Count
    again: bool


class SearchOptions(Settings):
    """Those of `hydra/sweeper=optuna`, without `params`, which are overrides."""

    objectives: list[str]
    trials: Count
    seed: Annotated[int, Field(ge=0, lt=2**32)]  # what numpy's generators take
    startup_trials: Annotated[int, Field(ge=0, le=MANY)]
    prune: bool
    prune_startup_trials: Annotated[int, Field(ge=0, le=MANY)]
    prune_warmup_steps: Annotated[int, Field(ge=0, le=MANY)]
    storage: str | None
    study: str | None


KINDS: dict[str, type[Settings]] = {  # by class, as `_target_` names it
    "ProcessesLauncher": ProcessesOptions,
    "RayLauncher": RayOptions,
    "SubmititLauncher": SubmititOptions,
    "OptunaSweeper": SearchOptions,
}


def check_options(hydra: DictConfig) -> None:
    """Check the launcher's and the sweeper's settings, if they are of ours.

    Args:
        hydra: the config's part of that name.

    Raises:
        ConfigError: a value of another kind, or out of range.
    """
    for name in ("launcher", "sweeper"):
        given = hydra[name]
        if kind := KINDS.get(str(given["_target_"]).rpartition(".")[2]):
            # One by one, for what is left out may refer to settings of jobs.
            values = {key: given[key] for key in kind.model_fields if key in given}
            lists = {key: list(value) for key, value in values.items() if isinstance(value, ListConfig)}
            check(kind, values | lists, f"hydra.{name}")
