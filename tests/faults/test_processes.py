"""Processes that end without their others: all end soon, and say why."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from lorakiln.console.orphans import INTERVAL, ancestors

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
    "OMP_NUM_THREADS": "1",
    "WANDB_MODE": "disabled",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
}
ENDLESS = {
    "steps": 10**6,
    "batch_size": 4,
    "adapter": {"rank": 4, "alpha": 4.0},
    "objective": {},
    "optimizer": {"kind": "adamw", "lr": 1e-3},
    "scheduler": {"kind": "constant"},
    "tracker": {"kind": "csv", "log_every": 10**6},
    "validation": {"every": 0},
    "samples": {"every": 0},
    "checkpoint_every": 10,
    "trainer": {"accelerator": "cpu", "threads": 1, "devices": 2},
}


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
def start_training(checkout, micro_encoded, tmp_path):
    """Starts an endless training in two processes; its first process, all that it has started once it is some steps on
    its way, and the log.
    """
    started, others = [], []

    def start(*launcher):
        folder = checkout(train=ENDLESS)
        (folder / "outputs" / "encoded").symlink_to(micro_encoded)
        log = tmp_path / "log"
        command = [sys.executable, *launcher, "-m", "pipelines.train"]
        with log.open("w") as file:
            first = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=file, stderr=file)
        started.append(first)
        wait_until(lambda: list(folder.glob("cache/checkpoints/*/step-*")), 150, log.read_text)
        below = [child for child in children_of(first.pid) if is_running(child)]
        others.extend(below)
        return first, below, log

    yield start
    for process in others:
        if is_running(process):
            os.kill(process, signal.SIGKILL)
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def two_ranks(start_training):
    """A training whose second process was started by the first; leader, the other's number, the log."""
    leader, (other,), log = start_training()
    return leader, other, log


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


@pytest.mark.slow
def test_when_one_of_two_under_torchrun_dies_all_end_and_the_other_says_why(start_training):
    torchrun, ranks, log = start_training("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    by_rank = {environment_of(process)["RANK"]: process for process in ranks}
    os.kill(by_rank["1"], signal.SIGKILL)
    wait_until(lambda: torchrun.poll() is not None and not any(map(is_running, ranks)), 60, log.read_text)
    told = log.read_text()
    assert "error: another process of this training has ended" in told, told
    # torchrun's own report of the two: what killed the second, and with which status the first has ended for it.
    assert torchrun.returncode == 1
    assert re.search(r"rank +: 1 \(local_rank: 1\)\s+exitcode +: -9 ", told)
    assert re.search(r"rank +: 0 \(local_rank: 0\)\s+exitcode +: 1 ", told)


def environment_of(process: int) -> dict[str, str]:
    entries = Path(f"/proc/{process}/environ").read_text().split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


WAITS = """
import time
from lorakiln.console.errors import exit_on_user_error

def wait():
    print("here", flush=True)
    time.sleep(60)

exit_on_user_error(wait)
"""


@pytest.mark.parametrize(("variable", "ends"), [("TORCHELASTIC_RUN_ID", True), ("DVC_STAGE", True), ("OTHER", False)])
def test_what_torchrun_or_dvc_has_started_ends_with_it(tmp_path, variable, ends):
    script = tmp_path / "waits.py"
    script.write_text(WAITS)
    # The shell, which stands for who starts, stays for what follows.
    shell = subprocess.Popen(
        ["sh", "-c", f"{sys.executable} {script} & wait; true"],
        env={**ENVIRONMENT, variable: "it"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert shell.stdout.readline() == "here\n"
    (waiting,) = children_of(shell.pid)
    shell.kill()
    shell.wait()
    if ends:
        wait_until(lambda: not is_running(waiting), 30, lambda: f"{variable}: it goes on")
    else:
        time.sleep(2 * INTERVAL)
        assert is_running(waiting)
        os.kill(waiting, signal.SIGKILL)


def descendants_of(process: int) -> list[int]:
    children = children_of(process)
    return [*children, *(one for child in children for one in descendants_of(child))]


@pytest.fixture
def under_dvc(checkout, micro_encoded):
    """An endless training by `dvc repro`, started by a shell; the shell, dvc, all below it, and the checkout."""
    trainer = {**ENDLESS["trainer"], "devices": 1}
    folder = checkout(train={**ENDLESS, "trainer": trainer})
    (folder / "outputs" / "encoded").symlink_to(micro_encoded)
    stage = {"cmd": f"{sys.executable} -m pipelines.train", "outs": [{"outputs/run": {"persist": True}}]}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"train": stage}}))
    environment = {**ENVIRONMENT, "DVC_NO_ANALYTICS": "1"}
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=folder, env=environment, check=True)
    log = folder / "log"
    with log.open("w") as file:
        shell = subprocess.Popen(
            ["sh", "-c", f"{sys.executable} -m dvc repro; true"], cwd=folder, env=environment, stdout=file, stderr=file
        )
    wait_until(lambda: list(folder.glob("cache/checkpoints/*/step-*")), 150, log.read_text)
    (dvc,) = children_of(shell.pid)
    below = descendants_of(dvc)
    yield shell, dvc, below, folder
    for process in (shell.pid, dvc, *below):
        if is_running(process):
            os.kill(process, signal.SIGKILL)
    shell.wait()


@pytest.mark.slow
def test_a_training_ends_when_dvc_does_and_not_when_its_terminal_does(under_dvc):
    shell, dvc, below, folder = under_dvc
    log = folder / "log"
    shell.kill()
    shell.wait()
    time.sleep(3)  # it looks once a second
    assert is_running(dvc) and all(is_running(process) for process in below)
    os.kill(dvc, signal.SIGTERM)
    wait_until(lambda: not any(is_running(process) for process in (dvc, *below)), 30, log.read_text)
    told = log.read_text()
    stopped = int(re.search(r"stopped after step (\d+); a checkpoint is saved", told).group(1))
    assert list(folder.glob(f"cache/checkpoints/*/step-{stopped:08d}.safetensors"))
    assert not (folder / "outputs" / "run").exists()


def test_ancestors():
    assert ancestors(1) == [os.getppid()]
    assert len(ancestors(2)) == 2
