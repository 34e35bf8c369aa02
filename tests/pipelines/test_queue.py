"""DVC's queue: experiments run in copies of the project, each with its own dataset."""

import csv
import io
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
# Two steps and two pictures: the queue is tried here, not training.
SMALL = (
    "train.steps=2", "train.samples.every=0", "train.validation.every=0", "train.scheduler.warmup_steps=0",
    "train/tracker=none", "evaluate.quick=true", "evaluate.steps=1", "evaluate.seeds=[0]", "evaluate.prompts=[a]",
    "evaluate.classify=[]",
)  # fmt: skip


@pytest.fixture
def queue(own_project):
    own_project.run("git", "config", "user.name", "t")
    own_project.run("git", "config", "user.email", "t@t")
    yield own_project
    own_project.run("dvc", "queue", "stop", "--kill")


def test_a_queued_experiment_takes_its_own_dataset_and_is_shown_in_few_columns(queue):
    overrides = ",".join(f'"{one}"' for one in SMALL)
    queue.run("dvc", "exp", "run", "--queue", "-S", "experiment=character_r16", "-S", f"overrides=[{overrides}]")
    queue.run("dvc", "queue", "start")
    end = time.monotonic() + 400
    while "Success" not in (status := queue.run("dvc", "queue", "status")):
        assert "Failed" not in status and time.monotonic() < end, status
        time.sleep(2)
    rows = list(csv.DictReader(io.StringIO(queue.run("dvc", "exp", "show", "--csv"))))
    (row,) = (row for row in rows if row["experiment"] == "character_r16")
    assert (row["prepare.dataset"], row["train.steps"], row["drawn.pictures"]) == ("demo_character", "2", "2")
    for more, width in (("", 120), (r"train\.adapter\.rank|train\.optimizer\.lr", 165)):
        # What `make experiments` runs when its environment is there.
        made = queue.run("make", "--no-print-directory", "-n", "experiments", f"KEEP={more}")
        shown = queue.run("bash", "-c", made[made.index("COLUMNS=") :])
        for text in ("prepare.dataset", "demo_character", "image_similarity.w1.00.mean", "clip_score.w1.00.mean"):
            assert text in shown
        assert "…" not in shown and max(len(line.rstrip()) for line in shown.splitlines()) < width
        assert ("train.optimizer.lr" in shown) == bool(more)
