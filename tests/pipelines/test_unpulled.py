"""Datasets that DVC knows and that were not fetched, through both doors."""

import shutil
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def clone(own_project):
    """A checkout that has of the dataset `mine` its pointer alone, whose other datasets are there."""
    raw = own_project.folder / "data/raw"
    (raw / "mine").mkdir()
    for name in ("star.png", "rocket.png"):
        shutil.copy(raw / "demo_style" / name, raw / "mine")
    own_project.run("dvc", "add", "-q", "data/raw/mine")
    shutil.rmtree(raw / "mine")
    shutil.rmtree(own_project.folder / ".dvc/cache")
    return own_project


def test_its_own_command_is_named_through_both_doors(clone):
    told = (
        "data/raw/mine: only its DVC pointer is here, not what it stands for\n  fix: run `dvc pull data/raw/mine.dvc`"
    )
    clone.edit("params.yaml", 'dataset: ""', "dataset: mine")
    first = clone.run("dvc", "repro", status=255)
    second = clone.run(sys.executable, "-m", "train", "+experiment=smoke", "prepare.dataset=mine", status=1)
    for output in (first, second):
        assert told in output and "Traceback" not in output


def test_another_experiment_is_not_blocked(clone):
    output = clone.run("dvc", "repro", "prepare")
    assert "prepare: 24 pictures" in output and "mine" not in output


def test_pictures_that_dvc_knows_otherwise_are_told(own_project):
    raw = own_project.folder / "data/raw"
    (raw / "mine/more").mkdir(parents=True)
    for name in ("star.png", "more/rocket.png", "\u00e9.png"):
        shutil.copy(raw / "demo_style" / Path(name).with_stem("star").name, raw / "mine" / name)
    own_project.run("dvc", "add", "-q", "data/raw/mine")
    own_project.edit("params.yaml", 'dataset: ""', "dataset: mine")
    assert "warning" not in own_project.run("dvc", "repro", "scan")
    (raw / "mine/star.txt").write_text("a star")
    output = own_project.run("dvc", "repro", "scan")
    assert "files in data/raw/mine; new or changed since the last time: 1" in output
    assert "warning: data/raw/mine is not what data/raw/mine.dvc says\n  fix: `dvc add data/raw/mine` keeps" in output
    own_project.run("dvc", "add", "-q", "data/raw/mine")
    assert "warning" not in own_project.run("dvc", "repro", "scan")
