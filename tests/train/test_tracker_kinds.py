"""A tracker that is no part of the package is found by its name, trained with, and gone on in by later stages."""

import json
from types import SimpleNamespace
from typing import Literal

import pytest
from pydantic import Field

from lorakiln.artefacts.json_files import read_json
from lorakiln.console.errors import ConfigError
from lorakiln.schema.base import check
from lorakiln.schema.trackers import TRACKERS, TrackerSettings
from lorakiln.tracking import Tracker, resume_tracker, start_tracker


class DiarySettings(TrackerSettings):
    kind: Literal["diary"] = "diary"
    page: str = Field("diary.jsonl", description="the file's name")


class Diary(Tracker):
    """A line of JSON for each call."""

    keeps = True

    def __init__(self, settings, config, folder, known, job):
        self.settings, self.path, self.job = settings, folder / settings.page, job
        self.record = {
            "kind": "diary",
            "id": "one",
            "project": settings.project,
            "url": None,
            "folder": str(folder),
            "page": settings.page,
            "upload_images": settings.upload_images,
        }
        self.write(begins=known is None, stages=sorted(config))

    def write(self, **entry):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps({"job": self.job, **entry}) + "\n")

    def log(self, values, step=None):
        self.write(step=step, names=sorted(values))


@pytest.fixture
def diary():
    TRACKERS.add("diary", SimpleNamespace(start=Diary), DiarySettings)
    yield
    TRACKERS.remove("diary")


def test_an_added_tracker_is_told_of_a_training_and_goes_on_after_it(diary, make_settings, train_micro, tmp_path):
    settings = make_settings(
        steps=6, optimizer={"kind": "adamw"}, tracker={"kind": "diary", "page": "mine.jsonl", "log_every": 3}
    )
    assert type(settings.tracker) is DiarySettings
    run = train_micro(settings)
    entries = [json.loads(line) for line in (tmp_path / "mine.jsonl").read_text().splitlines()]
    assert entries[0]["job"] == "train" and entries[0]["begins"] and "train" in entries[0]["stages"]
    assert [entry["step"] for entry in entries[1:] if "loss" in entry["names"]] == [3, 6]
    assert read_json(run / "tracker.json")["page"] == "mine.jsonl"
    resumed = resume_tracker(run, "evaluate", {"evaluate": {}})
    resumed.log({"score": 1.0}, 6)
    *_, begun, last = [json.loads(line) for line in (tmp_path / "mine.jsonl").read_text().splitlines()]
    assert begun == {"job": "evaluate", "begins": False, "stages": ["evaluate"]}
    assert last == {"job": "evaluate", "step": 6, "names": ["score"]}


def test_one_that_fails_is_told_once_and_left(diary, tmp_path, monkeypatch, capsys):
    started = start_tracker(DiarySettings(), {}, tmp_path, None, "train")
    monkeypatch.setattr(Diary, "log", lambda self, values, step=None: 1 / 0)
    started.log({"loss": 1.0}, 1)
    started.log({"loss": 1.0}, 2)
    told = capsys.readouterr().err
    assert told == "warning: tracking stopped (division by zero); the work goes on without it\n"


def test_one_that_is_not_here_any_more_keeps_nothing(diary, tmp_path):
    started = start_tracker(DiarySettings(), {}, tmp_path, None, "train")
    (tmp_path / "tracker.json").write_text(json.dumps(started.record))
    assert resume_tracker(tmp_path, "export").keeps
    TRACKERS.remove("diary")
    try:
        found = resume_tracker(tmp_path, "export")
    finally:
        TRACKERS.add("diary", SimpleNamespace(start=Diary), DiarySettings)
    assert not found.keeps and found.record["kind"] == "diary"


def test_pictures_are_not_sent_because_a_record_does_not_say(diary, tmp_path):
    started = start_tracker(DiarySettings(upload_images=False), {}, tmp_path, None, "train")
    record = dict(started.record)
    (tmp_path / "tracker.json").write_text(json.dumps(record))
    assert resume_tracker(tmp_path, "export").record["upload_images"] is False
    del record["upload_images"]
    (tmp_path / "tracker.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match="nothing about 'upload_images'"):
        resume_tracker(tmp_path, "export")


def test_the_settings_are_the_named_kind_s(diary):
    assert TRACKERS.names == ["csv", "diary", "none", "tensorboard", "wandb"]
    with pytest.raises(ConfigError) as caught:
        check(TRACKERS.chosen(), {"kind": "wandb", "page": "x"}, "train.tracker")
    assert "train.tracker.page: unknown setting" in caught.value.problems[0]
    with pytest.raises(ConfigError, match="'none', 'tensorboard' or 'wandb'"):
        check(TRACKERS.chosen(), {"kind": "wandbb"}, "train.tracker")


@pytest.mark.parametrize("kind", ["csv", "none", "tensorboard", "wandb"])
def test_each_has_its_settings_and_its_code(kind):
    assert TRACKERS.settings(kind)().kind == kind
    assert callable(TRACKERS.find(kind).start)
