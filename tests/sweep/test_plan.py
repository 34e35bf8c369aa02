"""What a sweep may take, told before it starts and after each job."""

import json
import os
import shutil
from types import SimpleNamespace

import pytest
import yaml

from lorakiln.sweep.cost_estimate import (
    count_choosing_steps,
    count_drawing_steps,
    count_saved_weights,
    estimate_cost,
    measure_folder,
    measure_throughput,
)
from lorakiln.sweep.job_length import count_saves
from lorakiln.sweep.jobs import Job, Outcome
from lorakiln.sweep.plan import format_plan
from lorakiln.sweep.running import ProgressReporter


def write_run(folder, model="m", pictures_per_second=10.0, whole=None):
    (folder / "run").mkdir(parents=True)
    where = {"steps_here": 20, "steps_per_second": 5.0, "pictures_per_second": pictures_per_second, "seconds": 6.0}
    (folder / "run/provenance.json").write_text(json.dumps(where))
    (folder / "run/weights").write_bytes(bytes(2**20))
    (folder / "resolved.yaml").write_text(yaml.safe_dump({"model": {"path": model}}))
    if whole:
        (folder / "job.json").write_text(json.dumps({"seconds": whole}))


def jobs(root, count, model="m", steps=60):
    settings = {"model": {"path": model}, "train": {"steps": steps, "batch_size": 4}}
    return [Job(number, (), root / str(number), f"seed={number}", settings) for number in range(count)]


def test_the_plan_judges_time_and_disk_by_finished_runs_with_the_same_model(tmp_path):
    root = tmp_path / "sweep"
    write_run(tmp_path / "20260101", pictures_per_second=20.0, whole=10.0)
    write_run(root / "a", pictures_per_second=20.0, whole=10.0)
    write_run(tmp_path / "another", model="large", pictures_per_second=0.001)
    # 10 jobs of 240 pictures at 20 pictures/s, with 10 - 20/5 = 6 seconds beside the steps, two at a time.
    text = format_plan(jobs(root, 10), root, 2)
    assert "10: 10 to run; at most 2 at a time" in text and "600 in all, 2,400 pictures" in text
    assert "about 90 s and 10.0 MiB" in text and "judging by 2 finished runs" in text
    assert "seed=9" in text and "seed=9" not in format_plan(jobs(root, 10), root, 2, titles=False)
    assert measure_throughput(tmp_path, "none") is None


def test_a_plan_without_a_run_to_judge_by_and_one_too_large_for_the_disk(tmp_path, monkeypatch):
    root = tmp_path / "sweep"
    assert "told after the first job" in format_plan(jobs(root, 2), root, 1)
    write_run(tmp_path / "run1")
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2**20))
    assert "2.0 MiB; WARNING: only 1.0 MiB are free" in format_plan(jobs(root, 2), root, 1)


SMALL = {
    "model": {"path": "m"},
    "train": {"steps": 20, "batch_size": 4, "save_every": 10, "adapter": {"rank": 4}},
    "evaluate": {"prompts": ["a"] * 4, "seeds": [0, 1], "weights": [0.0, 1.0], "steps": 2, "quick": True},
}
LARGE = {
    "model": {"path": "m"},
    "train": {"steps": 200, "batch_size": 4, "save_every": 100, "adapter": {"rank": 16}},
    "evaluate": {**SMALL["evaluate"], "steps": 20},
}


def write_whole_run(folder, settings):
    """A job of 30 s: 4 s of training (20 pictures/s), 10 s of evaluation, 16 s for the rest."""
    for name in ("run/adapters", "lora", "report"):
        (folder / name).mkdir(parents=True)
    where = {"steps_here": 20, "steps_per_second": 5.0, "pictures_per_second": 20.0, "seconds": 12.0}
    texts = {"run/provenance.json": json.dumps(where), "job.json": '{"seconds": 30.0}', "lora/facts.json": "{}"}
    for name, text in texts.items():
        (folder / name).write_text(text)
    (folder / "resolved.yaml").write_text(yaml.safe_dump(settings))
    (folder / "run/adapters/step-00000020.safetensors").write_bytes(bytes(1000))
    (folder / "report/metrics.json").write_bytes(bytes(500))
    for name, at in (("run/provenance.json", 100.0), ("lora/facts.json", 103.0), ("report/metrics.json", 113.0)):
        os.utime(folder / name, (at, at))


def job_of(tmp_path, number, settings):
    return Job(number, (), tmp_path / "sweep" / str(number), f"seed={number}", settings)


def test_the_evaluation_and_the_weights_are_reckoned_with_for_each_job(tmp_path):
    write_whole_run(tmp_path / "earlier", SMALL)
    assert (count_drawing_steps(SMALL), count_drawing_steps(LARGE), count_drawing_steps({})) == (
        4 * 2 * 2 * 2,
        4 * 2 * 2 * 20,
        1,
    )
    # Two files and two exported ones, and a checkpoint of three times a file's size.
    assert (count_saved_weights(SMALL), count_saved_weights(LARGE)) == (4 * 7, 16 * 7)
    (run,) = measure_throughput(tmp_path, "m").runs
    assert (run.speed, run.evaluation, run.rest, run.weights, run.report) == (20.0, 10.0, 16.0, 4000, 500)
    small, large = job_of(tmp_path, 0, SMALL), job_of(tmp_path, 1, LARGE)
    assert estimate_cost([small], tmp_path).seconds == pytest.approx(80 / 20 + 16 + 10)
    # 288 steps of denoising more, each as long as two thirds of a picture of training.
    assert estimate_cost([large], tmp_path).seconds == pytest.approx(800 / 20 + 16 + 10 + 288 * 2 / 3 / 20)
    assert estimate_cost([large], tmp_path).disk == pytest.approx(4000 * 4 + 500 * 10 + run.others)
    # A run with the same evaluation counts before one that has to be reckoned up.
    write_whole_run(tmp_path / "another", LARGE)
    assert estimate_cost([large], tmp_path).seconds == pytest.approx(800 / 20 + 16 + 10)


def test_the_choice_of_a_step_is_reckoned_with(tmp_path):
    choose = {"checkpoints": "all", "weights": [0.5, 1.0]}
    prompts = [f"a {number} cat" for number in range(10)]
    settings = {**SMALL, "evaluate": {**SMALL["evaluate"], "quick": None, "prompts": prompts}, "choose": choose}
    saves, seeds, steps = count_saves(settings), len(SMALL["evaluate"]["seeds"]), SMALL["evaluate"]["steps"]
    # Each saved step at two weights, and the base: with all prompts, and the grid's four without the trigger words.
    assert count_choosing_steps(settings) == (saves * 2 + 1) * (10 + 4) * seeds * steps
    halving = {**settings, "choose": {**choose, "checkpoints": "auto", "weights": [0.2, 0.4, 0.6, 0.8, 1.0]}}
    drawn = 5 * saves * 6 + max(3, -(-5 * saves // 3)) * 4 + 10
    drawn += 4 * (max(3, -(-5 * saves // 3)) + 1)
    assert count_choosing_steps(halving) == drawn * seeds * steps
    nothing = {**settings, "choose": {**choose, "checkpoints": "none"}}
    assert count_choosing_steps(nothing) == count_choosing_steps(SMALL) == 0
    write_whole_run(tmp_path / "earlier", nothing)
    more = [estimate_cost([job_of(tmp_path, n, one)], tmp_path).seconds for n, one in enumerate((nothing, settings))]
    assert more[1] - more[0] == pytest.approx(count_choosing_steps(settings) * 2 / 3 / 20)


def test_what_is_left_is_told_for_the_jobs_that_are_left(tmp_path, capsys):
    small, large = job_of(tmp_path, 0, SMALL), job_of(tmp_path, 1, LARGE)
    other = job_of(tmp_path, 2, {"model": {"path": "unknown"}})
    reporter = ProgressReporter([small, large, other], tmp_path / "sweep", 1)
    write_whole_run(small.folder, SMALL)
    reporter.report(Outcome(small, "finished", 30.0))
    # 800 pictures at 20/s, 16 s, and 19.6 s of evaluation; not the small job's 30 s.
    assert "; about 76 s and " in (said := capsys.readouterr().out) and "left, and 1 job on another base" in said
    reporter.report(Outcome(large, "finished", 156.0))
    assert "left" not in capsys.readouterr().out


def test_what_wandb_keeps_is_counted(tmp_path, monkeypatch):
    write_whole_run(tmp_path / "earlier", SMALL)
    monkeypatch.chdir(tmp_path)
    before = measure_throughput(tmp_path, "m").runs[0].others
    (tmp_path / "earlier/run/tracker.json").write_text('{"kind": "wandb", "id": "abc"}')
    for name in ("offline-run-1-abc", "offline-run-1-other"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
        (tmp_path / "wandb" / name / "run.wandb").write_bytes(bytes(3000))
    assert measure_throughput(tmp_path, "m").runs[0].others == before + 3000 + len('{"kind": "wandb", "id": "abc"}')


def test_what_a_running_job_removes_meanwhile_is_not_counted(tmp_path, monkeypatch):
    """A folder that is gone between being listed and being read ended a sweep with "cannot write"."""
    (tmp_path / "job" / ".report.kept").mkdir(parents=True)
    (tmp_path / "job" / "kept.txt").write_text("12345")
    (tmp_path / "job" / ".report.kept" / "a.png").write_text("123")
    assert measure_folder(tmp_path) == 8 and measure_folder(tmp_path, "*.txt") == 5
    scandir = os.scandir

    def removing(path):
        if str(path).endswith(".report.kept"):
            shutil.rmtree(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", removing)
    assert measure_folder(tmp_path) == 5
