"""A run that is killed and goes on: what a server gets of it, online and by the `wandb sync` that is printed."""

import csv
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lorakiln.artefacts.json_files import read_json
from tests.tracking.wandb_server import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def server():
    with serving() as started:
        yield started


@pytest.fixture
def environment(tmp_path):
    """No account, and a home without one."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    more = {
        "HOME": tmp_path,
        "NETRC": tmp_path / "netrc",
        "WANDB_DIR": tmp_path,
        "WANDB_X_SAVE_REQUIREMENTS": "false",
        "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}",
    }
    return plain | {name: str(value) for name, value in more.items()} | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture
def train(tmp_path, environment, preloaded):
    """`python -m train`; killed by SIGKILL as soon as a checkpoint is there, if one is named."""

    def call(*overrides, kill_after=None, **variables):
        command = (
            str(preloaded / "python"),
            "-m",
            "train",
            "+experiment=smoke",
            "caption=none",
            "train.steps=14",
            "train.checkpoint_every=5",
            "train.tracker.log_every=1",
            "train.samples.every=7",
            "evaluate.prompts=['a cat, {trigger}']",
            "evaluate.seeds=[0]",
            f"paths.cache={tmp_path}/cache",
            f"hydra.run.dir={tmp_path}/k",
            *overrides,
        )
        with (tmp_path / "log").open("w") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=environment | variables, stdout=log, stderr=log)
            pattern, end = f"checkpoints/*/step-{kill_after or 0:08d}.safetensors", time.monotonic() + 240
            while kill_after and not list((tmp_path / "cache").glob(pattern)):
                assert process.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
                time.sleep(0.01)
            if kill_after:
                process.send_signal(signal.SIGKILL)
            status = process.wait(240)
        said = (tmp_path / "log").read_text()
        assert status == (-signal.SIGKILL if kill_after else 0), said
        return said

    return call


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def assert_all_came_once(run, folder):
    """Every row and loss of the run's folder, in order, then what export and evaluate have logged."""
    metrics, losses = rows(folder / "run/metrics.csv"), rows(folder / "run/validation.csv")
    assert run.of("loss") == [(int(row["step"]), pytest.approx(float(row["loss"]))) for row in metrics]
    assert run.of("validation_loss") == [(int(row["step"]), pytest.approx(float(row["loss"]))) for row in losses]
    for row in run.history:
        # All of a row, not only what metrics.csv has.
        assert "loss" not in row or any(name.startswith("lora_norm/") for name in row)
    assert [step for step, _ in run.of("samples")] == [0, 7, 14]
    assert [step for step, _ in run.of("evaluate/likeness")] == [14]
    assert run.of("samples_by_step")[-1][0] == 14
    assert [line["_step"] for line in run.history] == sorted({line["_step"] for line in run.history})


def cut_off(run_folder):
    """Half-written, as a kill may leave the last record; of a short run all of it may still be in memory."""
    (file,) = run_folder.glob("*.wandb")
    file.write_bytes(file.read_bytes()[:-10] or b":W&")


def sync(server, environment, folder, *arguments):
    sent = subprocess.run(
        [str(Path(sys.executable).with_name("wandb")), "sync", *arguments],
        env=environment | server.environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "ERROR" not in sent.stdout + sent.stderr, sent.stderr


def test_the_printed_command_sends_everything_once(train, server, environment, tmp_path):
    train(kill_after=5)
    time.sleep(2)  # the client's service outlives the program a little
    (run_folder,) = (tmp_path / "wandb").glob("offline-run-*")
    cut_off(run_folder)
    said = train()
    assert "going on from the checkpoint after step" in said
    assert f"W&B: {run_folder.name} was cut off" in said and (tmp_path / "wandb/cut-off" / run_folder.name).is_dir()
    command = shlex.split(re.search(r"to upload later: (wandb sync \S+)$", said, re.MULTILINE)[1])
    folders = [str(path) for path in sorted(Path(command[-1]).parent.glob(Path(command[-1]).name))]
    assert len(folders) == 3  # training, export, evaluation
    name = read_json(tmp_path / "k/run/tracker.json")["id"]
    shutil.copytree(tmp_path / "wandb", tmp_path / "copy" / "wandb", symlinks=True)
    sync(server, environment, tmp_path, *folders)
    assert_all_came_once(server.runs[name], tmp_path / "k")
    # So does that of everything, the dataset's record among it.
    with serving() as other:
        sync(other, environment, tmp_path / "copy", "--yes", "wandb")
        assert_all_came_once(other.runs[name], tmp_path / "k")
        assert {name[:8] for name in other.runs} == {name, "dataset-"}


def test_online_nothing_comes_twice(train, server, tmp_path):
    train(kill_after=5, **server.environment)
    (name,) = server.runs
    said = train(**server.environment)
    assert "going on from the checkpoint after step" in said and "tracking stopped" not in said
    # The dataset's record goes there too.
    assert "W&B is offline" not in said and {name[:8] for name in server.runs} == {name, "dataset-"}
    assert read_json(tmp_path / "k/run/tracker.json")["id"] == name
    assert_all_came_once(server.runs[name], tmp_path / "k")
