"""A killed process leaves nothing of W&B's in $TMPDIR, and what it leaves elsewhere goes with the next one."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from lorakiln.tracking import temporary_files
from lorakiln.tracking.temporary_files import temporary_files_in
from tests.faults.conftest import ROOT

PROGRAM = """
import os, sys
from pathlib import Path
from lorakiln.schema.trackers import TrackerSettings
from lorakiln.tracking.tracker import start_tracker
tracker = start_tracker(TrackerSettings(kind="wandb", project="tests"), {}, Path.cwd(), None, "train")
assert tracker.record["id"]
tracker.table("pictures", ["a"], [[1]], 0)  # of which the client makes an artifact, in a folder of its own
print("ready", flush=True)
sys.stdin.readline()
tracker.finish()
"""


@pytest.fixture
def tracked(tmp_path):
    """Starts a program that tracks with W&B, offline; $TMPDIR is below the project."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("WANDB_")},
        "PYTHONPATH": str(ROOT / "src"),
        "TMPDIR": str(tmp_path / "temporary"),
        "HOME": str(tmp_path),
        "WANDB_MODE": "offline",
    }
    (tmp_path / "temporary").mkdir()

    def start():
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "ready\n"
        return process

    return start


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if "torchinductor" not in str(path))


def test_a_killed_tracker_leaves_nothing_in_the_temporary_folder(tracked, tmp_path):
    made = tmp_path / "wandb" / "tmp"
    killed = tracked()
    assert len(list(made.iterdir())) == 1 and len(list(made.glob("*/*wandb*"))) == 2
    killed.send_signal(signal.SIGKILL)
    killed.wait(20)
    # W&B's own service sees after a while that its program is gone, and takes its socket away.
    end = time.monotonic() + 60
    while left_in(tmp_path / "temporary") and time.monotonic() < end:
        time.sleep(0.1)
    assert left_in(tmp_path / "temporary") == []
    whole = tracked()  # takes away what the killed one left
    assert len(list(made.iterdir())) == 1
    whole.communicate("\n", 60)
    assert whole.returncode == 0
    assert list(made.iterdir()) == [] and left_in(tmp_path / "temporary") == []


def test_folders_of_living_processes_stay(tmp_path):
    before = tempfile.gettempdir()
    with temporary_files_in(tmp_path):
        first = Path(tempfile.mkdtemp())
    with temporary_files_in(tmp_path):
        assert Path(tempfile.mkdtemp()).parent == first.parent
    temporary_files._own.clear()  # as in another process
    with temporary_files_in(tmp_path):
        second = Path(tempfile.mkdtemp())
    assert first.is_dir() and second.is_dir() and first.parent != second.parent
    assert first.parent.parent == tmp_path / "tmp"
    assert tempfile.gettempdir() == before


def test_where_nothing_can_be_written_it_is_as_ever(tmp_path):
    (tmp_path / "tmp").touch()
    with temporary_files_in(tmp_path):
        assert tempfile.gettempdir() == (tempfile.tempdir or tempfile.gettempdir())
        assert not Path(tempfile.gettempdir()).is_relative_to(tmp_path / "tmp")
