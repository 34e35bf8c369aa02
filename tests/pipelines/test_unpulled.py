"""Datasets that DVC knows and that were not fetched, through both doors."""

import shutil

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
    second = clone.run("python", "-m", "train", "+experiment=smoke", "prepare.dataset=mine", status=1)
    for output in (first, second):
        assert told in output and "Traceback" not in output


def test_another_experiment_is_not_blocked_or_told_how_not_to_be(clone):
    # With no dataset named, DVC looks at all of data/raw, and says what is missing without a way out.
    output = clone.run("dvc", "repro", status=255)
    assert "only their DVC pointers are in data/raw: mine" in output
    assert "`dvc repro --allow-missing`" in output and "dataset: demo_style in params.yaml" in output
    assert "prepare: 24 pictures" in clone.run("dvc", "repro", "--allow-missing", "prepare")
    clone.edit("params.yaml", 'dataset: ""', "dataset: demo_style")
    assert "Running stage 'caption'" in clone.run("dvc", "repro", "caption")
    # In another clone, where nothing has changed since it was committed, it is told too.
    clone.edit("params.yaml", "dataset: demo_style", 'dataset: ""')
    clone.run("dvc", "repro", "--allow-missing", "caption")
    shutil.rmtree(clone.folder / "outputs/.code")
    assert "`dvc repro --allow-missing`" in clone.run("dvc", "repro", status=255)
