"""DVC's queue: experiments run in copies of the project, each with its own dataset."""

import csv
import io
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
# Two steps and two pictures: the queue is tried here, not training.
SMALL = (
    "train.steps=2",
    "train.samples.every=0",
    "train.validation.every=0",
    "train.scheduler.warmup_steps=0",
    "train/tracker=none",
    "evaluate.quick=true",
    "evaluate.steps=1",
    "evaluate.seeds=[0]",
    "evaluate.prompts=[a]",
    "evaluate.classify=[]",
)
STATES = ("success", "queued")


@pytest.fixture
def queue(own_project):
    own_project.run("git", "config", "user.name", "t")
    own_project.run("git", "config", "user.email", "t@t")
    yield own_project
    own_project.run("dvc", "queue", "stop", "--kill")


def test_a_queued_experiment_takes_its_own_dataset_and_is_told_from_the_others(queue):
    overrides = ",".join(f'"{one}"' for one in SMALL)
    queue.run("dvc", "exp", "run", "--queue", "-S", "experiment=character_r16", "-S", f"overrides=[{overrides}]")
    queue.run("dvc", "queue", "start")
    end = time.monotonic() + 400
    while "Success" not in (status := queue.run("dvc", "queue", "status")):
        assert "Failed" not in status and time.monotonic() < end, status
        time.sleep(1)
    rows = list(csv.DictReader(io.StringIO(queue.run("dvc", "exp", "show", "--csv"))))
    (row,) = (row for row in rows if row["experiment"] == "character_r16")
    assert (row["prepare.dataset"], row["train.steps"]) == ("demo_character", "2") and float(row["likeness"])
    overrides = ",".join(f'"{one}"' for one in (*SMALL, "train.adapter.rank=2"))
    queue.run("dvc", "exp", "run", "--queue", "-n", "small", "-S", f"overrides=[{overrides}]")
    # What `make experiments` runs when its environment is there.
    made = queue.run("make", "--no-print-directory", "-n", "experiments")
    shown = queue.run("bash", "-c", made[made.index("python -m") :])
    done, waiting = (next(line.split() for line in shown.splitlines() if f" {one} " in line) for one in STATES)
    assert done[2:] == [f"{float(row[name]):.4f}" for name in ("likeness", "obedience")] + ["experiment=character_r16"]
    assert waiting == ["small", "queued", "-", "-", "experiment=smoke", "train.adapter.rank=2"]
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80
