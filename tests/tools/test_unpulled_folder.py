"""A dataset of which DVC's pointer alone is here, named to any command that takes a folder."""

import shutil
from pathlib import Path

import pytest

from lorakiln.cli import main

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command",
    [
        ["review", "mine"],
        ["review", "data/raw/mine"],
        ["crop", "data/raw/mine", "--size", "64x64", "--out", "out"],
        ["new", "cats", "--pictures", "data/raw/mine", "--base", "tiny"],
        ["captions", "lint", "data/raw/mine"],
        ["captions", "stats", "data/raw/mine"],
        ["captions", "replace", "data/raw/mine", "cat", "dog"],
        ["captions", "reencode", "data/raw/mine", "--from", "cp1252"],
        ["captions", "export", "data/raw/mine"],
        ["captions", "diff", "data/raw/mine"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_the_command_that_fetches_it_is_named(tmp_path, monkeypatch, capsys, command):
    (tmp_path / "data/raw").mkdir(parents=True)
    (tmp_path / "data/raw/mine.dvc").touch()
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    monkeypatch.chdir(tmp_path)
    assert main(command) == 1
    told = capsys.readouterr().err
    assert "data/raw/mine: only its DVC pointer is here, not what it stands for" in told
    assert "run `dvc pull data/raw/mine.dvc`" in told and "Traceback" not in told
