"""`python -m train`: where it is started, and what it prints when it cannot."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMOKE = "+experiment=smoke"


@pytest.fixture
def start(tmp_path):
    """Run it; status, and what it printed to both streams."""

    def call(*arguments, folder=tmp_path, after=""):
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        command = f"{sys.executable} -m train {' '.join(arguments)} {after}"
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return call


def test_bare_it_says_what_to_give_it(start):
    status, said = start(folder=ROOT)
    assert status == 1 and len(said.splitlines()) == 2
    assert "no dataset is named" in said and "+experiment=NAME" in said


@pytest.mark.parametrize("shown", ["--help", f"{SMOKE} --cfg job"])
def test_who_has_seen_enough_of_it_is_told_nothing(start, shown):
    assert start(shown, folder=ROOT, after="| true") == (141, "")


@pytest.mark.parametrize("more", [(), ("train.seed=1,2", "-m")])
def test_in_another_folder_it_says_where_to_go_and_writes_nothing(start, tmp_path, more):
    status, said = start(SMOKE, *more)
    assert status == 1 and said == (
        f"error: {tmp_path}: there is no data/raw here\n  fix: go to the project's folder first: cd {ROOT}\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_in_another_checkout_it_says_whose_code_runs(start, tmp_path):
    """Two clones and one environment."""
    for name in ("src/train.py", "conf/config.yaml"):
        (tmp_path / name).parent.mkdir()
        shutil.copyfile(ROOT / name, tmp_path / name)
    (tmp_path / "data/raw").mkdir(parents=True)
    status, said = start(SMOKE)
    assert status == 1 and len(said.splitlines()) == 2
    assert f"{tmp_path}: this checkout has code of its own, but that of {ROOT} is run" in said


def test_a_sweep_and_hydras_own_settings_too_have_a_nearest_name(start):
    status, said = start(SMOKE, "hydra.sweeper.trails=3", "train.seed=1,2", "-m", folder=ROOT)
    assert status == 1 and "did you mean hydra.sweeper.trials (with hydra/sweeper=optuna)?" in said
    status, said = start(SMOKE, "hydra.launcher.jobs=true", "train.seed=1,2", "-m", folder=ROOT)
    assert status == 1 and "hydra.launcher.jobs: Input should be a valid integer (got True)" in said
    status, said = start(SMOKE, "+train/schedular=cosine", folder=ROOT)
    assert status == 1 and "train/schedular: there is no such group\n  fix: did you mean train/scheduler?" in said
