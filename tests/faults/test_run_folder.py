"""A run's folder that cannot be made or written, and a cache that is none, at the second door: told in one message."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RAW = f"paths.raw={ROOT / 'data/raw'}"


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("hydra.run.dir=file", "File exists"),
        ("hydra.run.dir=file/below", "Not a directory"),
        ("hydra.run.dir=/proc/none", "No such file or directory"),
        (f"hydra.run.dir={'x' * 300}", "File name too long"),
        ("paths.cache=file", "File exists"),
        ("paths.runs=file", "Not a directory"),
    ],
)
def test_a_folder_that_cannot_be_made(programs, tmp_path, setting, reason):
    (tmp_path / "file").touch()
    arguments = ("+experiment=smoke", RAW, f"model.path={ROOT / 'models/tiny/sd'}")
    status, printed = programs.start("train", tmp_path, (*arguments, setting)).wait()
    assert status == 1 and "Traceback" not in printed
    assert f"cannot write: {reason}" in printed and "fix: " in printed, printed


def test_a_sweeps_folder_that_cannot_be_made(programs, tmp_path):
    (tmp_path / "file").touch()
    arguments = ("+experiment=smoke", RAW, "train.seed=1,2", "hydra.sweep.dir=file/sweep", "-m")
    status, printed = programs.start("train", tmp_path, arguments).wait()
    assert status == 1 and "Traceback" not in printed and "cannot write: Not a directory" in printed, printed


def test_a_disk_that_takes_no_more(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    # Nothing can be written: the copy of the config that Hydra makes is the first to fail.
    command = ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", sys.executable, "-m", "train", "+experiment=smoke", RAW]
    done = subprocess.run(
        [*command, "hydra.run.dir=run"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ") and "ulimit -f" in done.stderr, done.stderr


def test_a_read_only_disk(programs, tmp_path):
    if os.getuid():
        pytest.skip("only root can mount a disk")
    (tmp_path / "disk").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k,ro", "none", str(tmp_path / "disk")]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("disks cannot be mounted here")
    try:
        status, printed = programs.start("train", tmp_path, ("+experiment=smoke", RAW, "hydra.run.dir=disk/run")).wait()
    finally:
        subprocess.run(["umount", str(tmp_path / "disk")], check=True)
    assert status == 1 and "Traceback" not in printed and "Read-only file system" in printed, printed
