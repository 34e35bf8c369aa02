"""Programs that are killed from outside, at a place that the test chooses."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from lorakiln.schema.model import Source

ROOT = Path(__file__).parents[2]
PATIENCE = 60  # seconds until a paused place must be reached


class Job:
    """A running program."""

    def __init__(self, server: subprocess.Popen, signals: Path, log: Path) -> None:
        self.server, self.signals, self.log = server, signals, log
        self.process = int(server.stdout.readline())
        self.pidfd = os.pidfd_open(self.process)

    def kill(self) -> None:
        """Kill the program, if it has not ended."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def kill_when_paused(self, number: int) -> tuple[int, str]:
        """Send a signal when the program has paused, and let it go; its status and what it printed."""
        return self.go_on_when_paused(lambda process: os.kill(process, number))

    def kill_later(self, number: int, seconds: float) -> tuple[int, str, float]:
        """Send a signal so long after the pause, if the program has not ended; its status, what it printed, and the
        seconds that it took to end."""
        began = time.monotonic()

        def send(process: int) -> None:
            nonlocal began
            (self.signals / "go").touch()
            time.sleep(seconds)
            began = time.monotonic()
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

        return *self.go_on_when_paused(send), time.monotonic() - began

    def go_on_when_paused(self, meddle: Callable[[int], object]) -> tuple[int, str]:
        """Do something to the program when it has paused, and let it go; its status and what it printed."""
        end = time.monotonic() + PATIENCE
        while not (self.signals / "paused").exists():
            assert time.monotonic() < end and Path(f"/proc/{self.process}").exists(), self.log.read_text()
            time.sleep(0.002)
        meddle(self.process)
        (self.signals / "go").touch()
        return self.wait()

    def wait(self) -> tuple[int, str]:
        """Exit status (minus the signal's number if one killed it) and what it printed."""
        status = int(self.server.stdout.readline())
        os.close(self.pidfd)
        return status, self.log.read_text()


class Programs:
    """Starts them."""

    def __init__(self, server: subprocess.Popen, folder: Path) -> None:
        self.server, self.folder, self.count = server, folder, 0

    def start(
        self,
        module: str,
        folder: Path,
        arguments: tuple[str, ...] = (),
        pause: str = "",
        count: int = 1,
        skip: tuple[str, ...] = (),
    ) -> Job:
        """Run `python -m module arguments` in `folder`; see server.py."""
        self.count += 1
        signals = self.folder / str(self.count)
        signals.mkdir()
        (signals / "log").touch()
        order = {
            "module": module,
            "folder": str(folder),
            "arguments": list(arguments),
            "pause": pause,
            "count": count,
            "signals": str(signals),
            "skip": list(skip),
            "log": str(signals / "log"),
        }
        self.server.stdin.write(json.dumps(order) + "\n")
        self.server.stdin.flush()
        return Job(self.server, signals, signals / "log")


@contextlib.contextmanager
def serving(folder: Path, *prefix: str, **variables: str) -> Iterator[Programs]:
    """A server of its own, with these environment variables, started by the command `prefix`."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "OMP_NUM_THREADS": "1",
        "WANDB_MODE": "disabled",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        **variables,
    }
    command = [*prefix, sys.executable, str(Path(__file__).with_name("server.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout.readline() == "ready\n"
        yield Programs(server, folder)
        server.stdin.close()


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("jobs")) as started:
        yield started


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """data/raw with one dataset, `raw`, of six pictures of 32x32 with captions."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "raw").mkdir()
    for seed in range(6):
        shades = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(shades).save(folder / "raw" / f"{seed}.png")
        (folder / "raw" / f"{seed}.txt").write_text(f"a {('red', 'blue')[seed % 2]} cat")
    return folder


@pytest.fixture
def checkout(tmp_path, pictures, micro_model):
    """Makes a folder as a stage of `dvc repro` finds it, with outputs/resolved.yaml."""

    def make(name: str = "checkout", **spaces) -> Path:
        model = micro_model.model_dump(mode="json")
        return write_checkout(tmp_path / name, pictures, {"model": model, **spaces})

    return make


def write_checkout(folder, raw, spaces):
    paths = {key: f"outputs/{key}" for key in ("prepared", "captioned", "encoded", "run", "choice", "lora", "report")}
    config = {"paths": {**paths, "raw": str(raw), "cache": "cache"}, **spaces}
    (folder / "outputs").mkdir(parents=True)
    (folder / "outputs" / "resolved.yaml").write_text(yaml.safe_dump(config))
    return folder


STAGES = {
    "prepare": "prepared",
    "caption": "captioned",
    "encode": "encoded",
    "train": "run",
    "export": "lora",
    "evaluate": "report",
}
SETTINGS = {
    "prepare": {
        "dataset": "mine",
        "resolution": 64,
        "bucket": {"min": 32, "max": 128, "step": 16},
        "workers": 1,
    },
    "caption": {"captioner": "none", "trigger": "sks"},
    "encode": {"flip": True, "batch_size": 4, "device": "cpu"},
    "train": {
        "steps": 2,
        "batch_size": 2,
        "adapter": {"rank": 2, "alpha": 2.0},
        "objective": {},
        "optimizer": {"kind": "adamw", "lr": 1e-3},
        "scheduler": {"kind": "constant"},
        "trainer": {"accelerator": "cpu", "threads": 1},
        "tracker": {"kind": "none"},
        "validation": {"every": 0},
        "samples": {"every": 0},
        "save_every": 1,
        "checkpoint_every": 1,
    },
    "export": {},
    "evaluate": {
        "prompts": ["{trigger}, a cat"],
        "seeds": [0, 1],
        "weights": [0.0, 1.0],
        "between": [],
        "steps": 2,
        "width": 64,
        "height": 64,
        "device": "cpu",
    },
}
COUNT = 12


@pytest.fixture(scope="session")
def finished(tmp_path_factory, programs, micro_model):
    """A checkout in which all stages have run."""
    model = micro_model.model_copy(update={"clip": Source(path=str(ROOT / "models" / "tiny" / "clip"))})
    folder = tmp_path_factory.mktemp("finished") / "checkout"
    write_checkout(folder, folder / "raw", {**SETTINGS, "model": model.model_dump(mode="json")})
    (folder / "raw" / "mine").mkdir(parents=True)
    paint(folder / "raw" / "mine", 0)
    run_all(programs, folder, STAGES)
    return folder


@pytest.fixture
def stages(finished, tmp_path):
    """A checkout of the test's own, with data/raw/mine, in which all stages have run."""
    folder = tmp_path / "checkout"
    shutil.copytree(finished, folder)
    resolved = folder / "outputs" / "resolved.yaml"
    resolved.write_text(resolved.read_text().replace(str(finished), str(folder)))
    return folder


@pytest.fixture
def stages_before(stages):
    """The same as it was when a stage was next."""

    def call(stage: str) -> Path:
        names = list(STAGES)
        for name in names[names.index(stage) :]:
            shutil.rmtree(stages / "outputs" / STAGES[name])
        if stage not in ("export", "evaluate"):
            shutil.rmtree(stages / "cache")  # which training alone uses
        return stages

    return call


def paint(folder, seed):
    for number in range(COUNT):
        shades = np.random.default_rng([seed, number]).integers(0, 256, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(shades).save(folder / f"{number}.png")


def run_all(programs, folder, names):
    for name in names:
        status, printed = programs.start(f"pipelines.{name}", folder).wait()
        assert status == 0, printed
