"""The same command after the pictures or the model have changed."""

import os

import pytest

from lorakiln.artefacts.code_digest import find_code
from lorakiln.chain import CHAIN
from lorakiln.schema.whole_config import check_whole
from lorakiln.sweep import job_sources as module
from lorakiln.sweep.devices import Claims
from lorakiln.sweep.job_sources import identify_sources, list_differences
from lorakiln.sweep.local import LocalProcesses
from lorakiln.sweep.plan import format_plan
from lorakiln.sweep.running import run_jobs
from pipelines.compose import compose_config


@pytest.fixture
def settings(tmp_path):
    raw, model = tmp_path / "raw" / "mine", tmp_path / "model"
    raw.mkdir(parents=True)
    (model / "unet").mkdir(parents=True)
    for name in ("a.png", "a.txt", "b.png"):
        (raw / name).write_text(name)
    (model / "unet" / "model.safetensors").write_text("weights")
    return {"paths": {"raw": str(raw.parent)}, "prepare": {"dataset": "mine"}, "model": {"path": str(model)}}


def test_a_deleted_picture_an_edited_caption_and_other_weights_are_told_apart(settings, tmp_path):
    before = identify_sources(settings)
    assert set(before) == {"program", "pictures or captions", "base model"} and len(before["base model"]) == 16
    (tmp_path / "raw/mine/b.png").unlink()
    fewer = identify_sources(settings)
    assert list_differences(before, fewer) == ["pictures or captions"]
    (tmp_path / "raw/mine/a.txt").write_text("another")
    assert list_differences(fewer, identify_sources(settings)) == ["pictures or captions"]
    (tmp_path / "model/unet/model.safetensors").write_text("others!")
    assert list_differences(fewer, identify_sources(settings)) == ["pictures or captions", "base model"]


def test_what_is_unknown_counts_as_the_same(settings):
    found = identify_sources({**settings, "model": {"path": "someone/model-that-is-not-fetched"}})
    assert found["base model"] is found["program"] is None  # of settings that no job could have
    assert (
        list_differences({"base model": "1"}, found)
        == []
        == list_differences({"base model": None}, {"base model": "1"})
    )


def test_files_are_read_once_as_long_as_their_sizes_and_times_are_the_same(settings, tmp_path, monkeypatch):
    before, read = identify_sources(settings), []
    monkeypatch.setattr(module, "hash_folder", lambda path, follow: read.append(path) or "0" * 64)
    assert identify_sources(settings) == before and not read
    os.utime(tmp_path / "raw/mine/a.png", ns=(1, 1))
    assert identify_sources(settings)["pictures or captions"] == "0" * 16 and len(read) == 1


def test_a_finished_job_runs_again_after_a_picture_was_deleted_and_the_plan_says_why(
    settings, tmp_path, make_jobs, calls
):
    made = make_jobs("ok", "ok")
    for job in made:
        job.settings.update(settings)
    root = tmp_path / "sweep"

    def statuses():
        return [one.status for one in run_jobs(made, root, LocalProcesses(1, Claims([])))]

    assert statuses() == ["finished"] * 2 and statuses() == ["skipped"] * 2
    (tmp_path / "raw/mine/b.png").unlink()
    told = format_plan(made, root, 1)
    assert "2: 2 to run" in told and told.count("(finished, but again: other pictures or captions)") == 2
    assert statuses() == ["finished"] * 2 and statuses() == ["skipped"] * 2
    assert len(calls(made[0])) == 2


@pytest.fixture
def whole():
    """A job's whole config."""
    return check_whole(compose_config(["+experiment=smoke"])).model_dump(mode="json")


def test_the_program_is_the_code_of_all_stages_and_of_the_kinds_in_use(whole, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "find_code", lambda *names: asked.extend(names) or find_code(*names))
    program = identify_sources(whole)["program"]
    assert {stage.module for stage in CHAIN} <= set(asked) and program == find_code(*asked).digest
    assert {"lorakiln.optim.adamw", "lorakiln.captioners.blip"} <= set(asked)
    assert not any(name.endswith((".cosine", ".huber")) for name in asked)
    other = {**whole, "train": {**whole["train"], "scheduler": {"kind": "cosine"}}}
    assert identify_sources(other)["program"] != program


def test_a_finished_job_runs_again_with_another_program_and_the_plan_says_why(
    whole, tmp_path, make_jobs, calls, monkeypatch
):
    (job,) = made = make_jobs("ok")
    job.settings.update(whole)
    root = tmp_path / "sweep"

    def run():
        return [one.status for one in run_jobs(made, root, LocalProcesses(1, Claims([])))]

    assert run() == ["finished"] and run() == ["skipped"]
    monkeypatch.setattr(module, "find_code", lambda *names: find_code(*names)._replace(digest="0" * 16))
    assert "(finished, but again: other program)" in format_plan(made, root, 1)
    assert run() == ["finished"] and run() == ["skipped"]
    assert len(calls(job)) == 2
