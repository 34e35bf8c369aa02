"""Jobs without models: a job's command is a few lines of Python; and folders as finished runs leave them."""

import json
import sys

import pytest
import yaml

from lorakiln.sweep.jobs import Job
from tests.made_facts import run_facts

SCRIPT = """
import json, os, pathlib, signal, sys, time
folder, action = pathlib.Path(sys.argv[1]), sys.argv[2]
with open(folder / "calls", "a") as calls: calls.write(os.environ.get("CUDA_VISIBLE_DEVICES", "-") + "\\n")
if action == "fail": print("error: the rank is wrong\\n  fix: another rank"); sys.exit(1)
if action == "die": os.kill(os.getpid(), 9)
if action == "wait":
    signal.signal(signal.SIGTERM, lambda *_: (print("saved", flush=True), sys.exit(143)))
    print("ready", flush=True); time.sleep(60)
if action == "twice" and len(open(folder / "calls").readlines()) == 1:
    signal.signal(signal.SIGTERM, lambda *_: (print("saved", flush=True), sys.exit(143)))
    # SLURM sends its warning to every process of a job.
    os.kill(os.getpid(), signal.SIGUSR2); os.kill(os.getppid(), signal.SIGUSR2)
    time.sleep(60); sys.exit(7)
if action == "name": print(os.environ["SLURM_JOB_NAME"])
if action == "sleep": time.sleep(1)
if action == "worse":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for step in range(200):
        with open(os.environ["LORAKILN_LIVE_VALIDATION"], "a") as file: file.write(f"{step} {1.0 + step}\\n")
        time.sleep(0.05)
(folder / "report").mkdir(exist_ok=True); (folder / "report" / "metrics.json").write_text("{}")
"""


class Scripted(Job):
    """Does what its title says."""

    @property
    def command(self):
        return [sys.executable, "-c", SCRIPT, str(self.folder), self.title]


@pytest.fixture
def make_jobs(tmp_path):
    """Scripted jobs, each with other settings."""

    def make(*actions, **more):
        trainer = {"accelerator": "gpu", "devices": more.pop("devices", 1)}
        settings = [{"train": {"steps": 10, "rank": number, "trainer": trainer}} for number in range(len(actions))]
        return [
            Scripted(number, (f"rank={number}",), tmp_path / str(number), action, settings[number], **more)
            for number, action in enumerate(actions)
        ]

    return make


@pytest.fixture
def calls():
    """What each start of a job's command noted: its CUDA_VISIBLE_DEVICES."""

    def read(job):
        path = job.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    return read


@pytest.fixture
def write_report():
    """A finished run's numbers, without its pictures."""

    def write(folder, likeness, obedience, validation_loss=0.5, step=0.1, spread=None):
        """`step` is how far the base is below the LoRA; `spread` the half of the intervals, none without it."""

        def around(value):
            ends = {} if spread is None else {"low": value - spread, "high": value + spread}
            return {"mean": value, **ends}

        def scores(value):
            return {"w0.00": around(value - step), "w1.00": {**around(value), "difference": around(step)}}

        for name in ("report/samples", "run"):
            (folder / name).mkdir(parents=True)
        # A setting more than the job was given: the schema's default.
        settings = {"paths": {}, "evaluate": {"quick": True}, "train": {"seed": folder.name, "repeats": 1}}
        (folder / "resolved.yaml").write_text(yaml.safe_dump(settings))
        metrics = {"image_similarity": scores(likeness), "clip_score": scores(obedience), "drawn": {"prompts": 8}}
        (folder / "report/metrics.json").write_text(json.dumps(metrics))
        # A prompt that no other run has: nothing is compared in pictures.
        row = {
            "prompt": f"a cat, {folder.name}",
            "seed": 0,
            "weight": 1.0,
            "with_trigger": True,
            "file_name": "absent.png",
        }
        (folder / "report/samples/metadata.jsonl").write_text(json.dumps(row) + "\n")
        adapters = [{"step": 5, "file": "a", "validation_loss": validation_loss}]
        run_facts(adapters=adapters).write(folder / "run/facts.json")

    return write
