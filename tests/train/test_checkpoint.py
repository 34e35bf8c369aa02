"""The folder of a run's checkpoints."""

import threading

import pytest

from lorakiln.console.errors import UserError
from lorakiln.train.checkpoint import CheckpointFolder


def test_what_a_killed_process_was_writing_does_not_pile_up(tmp_path):
    (tmp_path / "work/adapters").mkdir(parents=True)
    left = [tmp_path / "step-00000002.safetensors.1a2b3c4d.part", tmp_path / "work/adapters/step-2.x.part"]
    kept = tmp_path / "step-00000001.safetensors"
    for path in (*left, kept):
        path.write_text("x")
    folder = CheckpointFolder(tmp_path)
    folder.open({})
    assert not any(path.exists() for path in left) and kept.exists()
    folder.close()


def test_who_has_waited_for_a_run_that_removed_its_folder_holds_one_that_others_see(tmp_path, monkeypatch):
    """The folder goes with its lock file: a lock on what was removed would keep nobody out."""
    first, second = CheckpointFolder(tmp_path / "run"), CheckpointFolder(tmp_path / "run")
    first.open({})
    monkeypatch.setattr("lorakiln.train.checkpoint.time.sleep", lambda seconds: first.delete())
    second.open({}, wait=True)
    with pytest.raises(UserError, match="another process is training"):
        CheckpointFolder(tmp_path / "run").open({})
    second.close()
    third = CheckpointFolder(tmp_path / "run")
    third.open({})
    third.close()


def test_another_thread_may_close_a_folder(tmp_path):
    held = CheckpointFolder(tmp_path / "run")
    held.open({})
    closing = threading.Thread(target=held.close)
    closing.start()
    closing.join()
    CheckpointFolder(tmp_path / "run").open({})
