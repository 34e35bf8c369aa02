"""The launchers' and the sweeper's settings have kinds and ranges, as all others do."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from hydra_plugins.lorakiln_conf.sweep_options import KINDS, check_options
from lorakiln.console.errors import ConfigError

ROOT = Path(__file__).parents[2] / "conf" / "hydra"
FILES = sorted([*(ROOT / "launcher").glob("*.yaml"), *(ROOT / "sweeper").glob("*.yaml")])
OTHERS = {"_target_", "params", "parameters"}


def hydra(path, **changes):
    """Hydra's part of the config with the file chosen, the other of the two being Hydra's own."""
    basic = {"_target_": "hydra._internal.core_plugins.Basic"}
    given = {**OmegaConf.to_container(OmegaConf.load(path)), **changes}
    return OmegaConf.create({"launcher": basic, "sweeper": basic, path.parent.name: given})


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_option_has_a_kind_and_a_range(path):
    given = OmegaConf.load(path)
    check_options(hydra(path))
    kind = KINDS[given["_target_"].rpartition(".")[2]]
    assert set(kind.model_fields) == set(given) - OTHERS
    for name in kind.model_fields:
        numbers = (
            {"jobs", "cpus"} & {name} or isinstance(given[name], int | float) and not isinstance(given[name], bool)
        )
        wrong = [True, "2", -1, 10**30, float("nan")] if numbers else [3, [True]]
        for value in wrong:
            with pytest.raises(ConfigError, match=rf"hydra\.{path.parent.name}\.{name}"):
                check_options(hydra(path, **{name: value}))


def test_no_jobs_and_no_trials_are_refused():
    for path, name in ((ROOT / "launcher/processes.yaml", "jobs"), (ROOT / "sweeper/optuna.yaml", "trials")):
        with pytest.raises(ConfigError, match="greater than or equal to 1"):
            check_options(hydra(path, **{name: 0}))
