"""The copy of dvc.lock that stages keep; that it mends a torn one is tried in test_first_door.py."""

import ast
from pathlib import Path

import pytest
import yaml

from pipelines.lock import keep_lock

STAGES = list(yaml.safe_load(Path("dvc.yaml").read_text())["stages"])


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Where the copy is expected, in a folder with a dvc.lock, as DVC starts a stage."""
    (tmp_path / "outputs").mkdir()
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "train")
    return tmp_path / "outputs" / ".dvc_lock"


def test_the_last_lock_is_kept(kept):
    keep_lock()
    Path("dvc.lock").write_text("schema: '2.0'\nstages: {compose: {}}\n")
    keep_lock()
    assert kept.read_bytes() == Path("dvc.lock").read_bytes()
    assert [path.name for path in kept.parent.iterdir()] == [".dvc_lock"]


def test_a_stage_that_is_run_by_hand_leaves_the_copy_alone(kept, monkeypatch):
    keep_lock()
    whole = kept.read_bytes()
    Path("dvc.lock").write_text("")
    monkeypatch.delenv("DVC_STAGE")
    keep_lock()
    assert kept.read_bytes() == whole


def test_before_the_first_lock_there_is_nothing_to_keep(kept):
    Path("dvc.lock").unlink()
    keep_lock()
    assert not kept.exists()


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_keeps_it_first(stage):
    (main,) = (
        node
        for node in ast.parse(Path(f"pipelines/{stage}.py").read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == "main"
    )
    first = next(node for node in main.body if not isinstance(node, ast.ImportFrom))
    assert ast.unparse(first) == "keep_lock()"
