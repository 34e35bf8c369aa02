"""How runs of the second door are shown."""

import pytest

from lorakiln.runs import _shown
from lorakiln.schema.tracker import TrackerSettings


@pytest.mark.parametrize(
    ("folder", "job", "experiment", "group", "name"),
    [
        ("runs/smoke/20260101-101010", False, "smoke", "smoke", "smoke 20260101-101010"),
        ("elsewhere/mine", False, "smoke", "smoke", "smoke mine"),
        ("runs/custom/today", False, None, "custom", "custom today"),
        ("runs/smoke/sweep/train.adapter.rank=4,train.seed=1", True, "smoke", "smoke sweep", "rank=4,seed=1"),
        # A sweep with a folder of its own belongs to its experiment still.
        ("runs/smoke/f1/3", True, None, "smoke f1", "3"),
        ("elsewhere/f1/train.optimizer.lr=1e-4", True, "smoke", "smoke f1", "lr=1e-4"),
    ],
)
def test_group_and_name(tmp_path, folder, job, experiment, group, name):
    folder = tmp_path / folder
    folder.mkdir(parents=True)
    if job:
        (folder / "job.json").write_text("{}")
    shown = _shown(TrackerSettings(kind="wandb"), folder, experiment)
    assert (shown.group, shown.name) == (group, name)
    chosen = _shown(TrackerSettings(kind="wandb", group="a", name="b"), folder, experiment)
    assert (chosen.group, chosen.name) == ("a", "b")


def test_a_job_named_by_what_stays_at_home_is_not_shown_so(tmp_path):
    folder = tmp_path / "smoke" / "sweep" / "caption.trigger=SECRETWORD"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text("{}")
    shown = _shown(TrackerSettings(kind="wandb", upload_images=False), folder, None)
    assert (shown.group, shown.name) == ("smoke sweep", "smoke sweep")
