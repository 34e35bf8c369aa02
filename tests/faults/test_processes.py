"""Processes that end without their others: all end soon, and say why."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lorakiln.console.orphans import ancestors

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    **os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]), "OMP_NUM_THREADS": "1",
    "WANDB_MODE": "disabled", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "",
}  # fmt: skip
ENDLESS = {
    "steps": 10**6, "batch_size": 4, "adapter": {"rank": 4, "alpha": 4.0}, "objective": {}, "optimizer": {"lr": 1e-3},
    "scheduler": {"kind": "constant"}, "tracker": {"kind": "csv", "log_every": 10**6}, "validation": {"every": 0},
    "samples": {"every": 0}, "checkpoint_every": 10, "trainer": {"accelerator": "cpu", "threads": 1, "devices": 2},
}  # fmt: skip


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children_of(process: int) -> list[int]:
    return [int(name) for name in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def wait_until(condition, seconds, message):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, message()
        time.sleep(0.1)


@pytest.fixture
def two_ranks(checkout, micro_encoded, tmp_path):
    """An endless training in two processes, some steps on its way; leader, the other's number, the log."""
    folder = checkout(train=ENDLESS)
    (folder / "outputs" / "encoded").symlink_to(micro_encoded)
    log = tmp_path / "log"
    with log.open("w") as file:
        leader = subprocess.Popen(
            [sys.executable, "-m", "pipelines.train"], cwd=folder, env=ENVIRONMENT, stdout=file, stderr=file
        )
    wait_until(lambda: list(folder.glob("cache/checkpoints/*/step-*")), 150, log.read_text)
    (other,) = [child for child in children_of(leader.pid) if is_running(child)]
    yield leader, other, log
    for process in (leader.pid, other):
        if is_running(process):
            os.kill(process, signal.SIGKILL)
    leader.wait()


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["the leader", "the other"])
def test_when_one_of_two_dies_both_end_within_a_minute(two_ranks, killed):
    leader, other, log = two_ranks
    os.kill(leader.pid if killed == "the leader" else other, signal.SIGKILL)
    wait_until(lambda: leader.poll() is not None and not is_running(other), 60, log.read_text)
    told = log.read_text()
    assert "error: another process of this training has ended" in told, told
    assert "Traceback" not in told
    if killed == "the other":
        assert "process 1 was killed by SIGKILL" in told and leader.returncode == 1


ORPHAN = """
import os, pathlib, sys, time
from lorakiln.console.errors import exit_on_user_error

def work():
    pathlib.Path("writing").write_text(str(os.getpid()))
    os.rename("writing", "begun")
    time.sleep(60)

sys.exit(exit_on_user_error(work))
"""


@pytest.mark.slow
def test_a_stage_ends_when_dvc_does_and_not_when_its_terminal_does(tmp_path):
    (tmp_path / "stage.py").write_text(ORPHAN)
    command = f"PYTHONPATH={ROOT / 'src'} {sys.executable} stage.py"
    (tmp_path / "dvc.yaml").write_text(f"stages:\n  long:\n    cmd: {command}\n")
    environment = {**ENVIRONMENT, "DVC_NO_ANALYTICS": "1"}
    run = [sys.executable, "-m", "dvc"]
    subprocess.run([*run, "init", "-q", "--no-scm"], cwd=tmp_path, env=environment, check=True)
    terminal = subprocess.Popen(["sh", "-c", f"{sys.executable} -m dvc repro -q; true"], cwd=tmp_path, env=environment)
    wait_until((tmp_path / "begun").exists, 60, lambda: "dvc did not run the stage")
    stage = int((tmp_path / "begun").read_text())
    (dvc,) = children_of(terminal.pid)
    time.sleep(1)  # it has begun to look
    terminal.kill()
    terminal.wait()
    time.sleep(3)
    assert is_running(stage)
    os.kill(dvc, signal.SIGTERM)
    wait_until(lambda: not is_running(stage), 20, lambda: "the stage is still there")


def test_ancestors():
    assert ancestors(1) == [os.getppid()]
    assert len(ancestors(2)) == 2
