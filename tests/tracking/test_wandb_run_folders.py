"""The folders of a run's record: which have an end, what they hold, and what comes of those that were cut off."""

import json

import pytest
from wandb.proto.wandb_internal_pb2 import Record

from lorakiln.schema.trackers import TrackerSettings
from lorakiln.tracking import resume_tracker, start_tracker, wandb_run_folders
from lorakiln.tracking.wandb_run_folders import BLOCK, read_run_folders
from tests.tracking.recorded import Recorded
from tests.tracking.test_tracker import offline  # noqa: F401 - a fixture


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Nothing is being written any more."""
    monkeypatch.setattr(wandb_run_folders, "PATIENCE", 0.0)


@pytest.fixture
def record(offline, monkeypatch):  # noqa: F811
    """Log the losses of some steps as a training does, and forget that it was this process; the tracker's record."""

    def call(steps, known=None, config=None):
        tracker = start_tracker(TrackerSettings(kind="wandb", project="tests"), config or {}, offline, known, "train")
        for step in steps:
            tracker.log({"loss": float(step)}, step)
            tracker.log({"validation_loss": float(step)}, step)
        tracker.finish()
        Recorded(offline)  # waits for the end
        monkeypatch.setattr("lorakiln.tracking.wandb_tracker._opened", {})
        return tracker.record

    return call


def logged(folder, run, name):
    return [row["step"] for row in Recorded(folder).history[run] if name in row]


def test_what_a_record_holds_is_not_told_twice(record, offline):  # noqa: F811
    known = record([0, 1, 2])
    record([0, 1, 2, 3, 4], known)
    assert logged(offline, known["id"], "loss") == logged(offline, known["id"], "validation_loss") == [0, 1, 2, 3, 4]


def test_folders_begun_in_one_second_do_not_write_over_each_other(record, offline):  # noqa: F811
    known = record([0])
    for step in (1, 2, 3):
        record([step], known)
    assert len(read_run_folders(offline / "wandb", known["id"], Record.FromString)) == 4
    assert logged(offline, known["id"], "loss") == [0, 1, 2, 3]


def test_a_folder_is_whole_with_its_end_alone(record, offline):  # noqa: F811
    # Larger than a block of the log, of which a record may fill several.
    known = record([3, 7], config={"text": "x" * 3 * BLOCK})
    (found,) = read_run_folders(offline / "wandb", known["id"], Record.FromString)
    assert found.whole and found.last == 8 * 7 + 1
    path = found.path / f"run-{known['id']}.wandb"
    content = path.read_bytes()
    lasts = []
    for size in (0, 3, 7, 20, BLOCK + 5, len(content) - 400, len(content) - 1):
        path.write_bytes(content[:size])
        (cut,) = read_run_folders(offline / "wandb", known["id"], Record.FromString)
        assert not cut.whole, size
        lasts.append(cut.last)
    assert lasts == sorted(lasts) and lasts[0] == -1
    path.write_bytes(content[:7] + b"\xff" * 500)
    (cut,) = read_run_folders(offline / "wandb", known["id"], Record.FromString)
    assert not cut.whole


def test_what_was_cut_off_is_set_aside_and_told_again(record, offline, capsys):  # noqa: F811
    known = record([0, 1])
    record([2, 3], known)
    first, second = read_run_folders(offline / "wandb", known["id"], Record.FromString)
    path = second.path / f"run-{known['id']}.wandb"
    path.write_bytes(path.read_bytes()[:-9])
    capsys.readouterr()
    record([0, 1, 2, 3, 4], known)
    assert f"W&B: {second.path.name} was cut off" in capsys.readouterr().err
    assert first.path.is_dir() and not second.path.exists()
    assert (offline / "wandb" / "cut-off" / second.path.name / path.name).is_file()
    assert logged(offline, known["id"], "loss") == [0, 1, 2, 3, 4]


def test_a_later_stage_that_was_killed_leaves_nothing_in_the_way(record, offline, tmp_path, monkeypatch, capsys):  # noqa: F811
    known, run = record([0, 1]), tmp_path / "run"
    run.mkdir()
    (run / "tracker.json").write_text(json.dumps(known))
    capsys.readouterr()
    for told in (0, 1):  # how to send the rest, where a folder is set aside
        tracker = resume_tracker(run, "evaluate")
        assert capsys.readouterr().err.count(f"offline-run-*-{known['id']}") == told
        tracker.log({"evaluate/score": 0.5}, 1)
        tracker.finish()
        Recorded(offline)
        monkeypatch.setattr("lorakiln.tracking.wandb_tracker._opened", {})
        if not (offline / "wandb" / "cut-off").exists():
            found = read_run_folders(offline / "wandb", known["id"], Record.FromString)[-1]
            path = found.path / f"run-{known['id']}.wandb"
            path.write_bytes(path.read_bytes()[:-9])
            (offline / "wandb" / "cut-off").mkdir()
    assert [row["step"] for row in Recorded(offline).history[known["id"]] if "evaluate/score" in row] == [1]
    # It counts on where the training ended.
    assert [one.last for one in read_run_folders(offline / "wandb", known["id"], Record.FromString)] == [9, 10]
