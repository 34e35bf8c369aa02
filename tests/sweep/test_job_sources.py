"""The same command after the pictures or the model have changed."""

import os

import pytest

from lorakiln.artefacts.code_digest import find_code
from lorakiln.chain import CHAIN
from lorakiln.schema.whole_config import check_whole
from lorakiln.sweep import job_sources as module
from lorakiln.sweep.devices import Claims
from lorakiln.sweep.job_sources import identify_sources, list_differences
from lorakiln.sweep.local_jobs import LocalProcesses
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


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("model.path", "base model"),
        ("model.vae", "VAE"),
        ("model.config", "model config"),
        ("model.captioner.path", "captioner"),
        ("model.clip.path", "CLIP"),
        ("train.adapter.init_from", "LoRA to begin with"),
        ("train.samples.file", "file of sample prompts"),
    ],
)
def test_a_sweep_sees_every_model_that_changes_under_its_name(tmp_path, path, title):
    file = tmp_path / "named.safetensors"
    file.write_text("weights")
    *sections, last = path.split(".")
    settings = {last: str(file)}
    for section in reversed(sections):
        settings = {section: settings}
    before = identify_sources(settings)
    assert before.keys() == {"program", title} and before[title]
    file.write_text("other weights")
    assert list_differences(before, identify_sources(settings)) == [title]


def test_a_sweep_sees_the_config_beside_a_peft_file(tmp_path):
    for name in ("named.safetensors", "adapter_config.json"):
        (tmp_path / name).write_text("{}")
    settings = {"train": {"adapter": {"init_from": str(tmp_path / "named.safetensors")}}}
    before = identify_sources(settings)
    (tmp_path / "adapter_config.json").write_text('{"a": 1}')
    assert list_differences(before, identify_sources(settings)) == ["config of the LoRA to begin with"]


def test_a_hub_models_revision_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    refs = tmp_path / "models--owner--clip" / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text("1" * 40)
    (refs / "v2").write_text("2" * 40)
    told = [
        identify_sources({"model": {"clip": {"path": "owner/clip", "revision": revision}}})["CLIP"]
        for revision in (None, "v2")
    ]
    assert told == ["1" * 16, "2" * 16]
