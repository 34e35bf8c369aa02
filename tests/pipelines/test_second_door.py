"""`python -m train`, once and as a sweep."""

import json
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TRAIN = (sys.executable, "-m", "train", "+experiment=smoke")


def test_one_run_makes_its_own_folder_and_the_dataset_once(project):
    output = project.run(*TRAIN, "hydra.run.dir=runs/smoke/one")
    folder = project.folder / "runs/smoke/one"
    assert (folder / "lora/demo_style.safetensors").is_file() and (folder / "report/report.html").is_file()
    assert "reusing" not in output
    (dataset,) = (project.folder / "cache/datasets").iterdir()
    assert (dataset / "encoded/index.json").is_file()


def test_a_sweep_runs_every_combination_on_one_dataset_and_one_bad_job_does_not_sink_the_rest(project):
    output = project.run(
        *TRAIN, "train.adapter.rank=2,-1,8", "hydra.sweep.dir=runs/smoke/sweep",
        "hydra.sweep.subdir=${hydra:job.num}", "-m", status=1,
    )  # fmt: skip
    sweep = project.folder / "runs/smoke/sweep"
    ranks = [json.loads((sweep / name / "lora/facts.json").read_text())["rank"] for name in ("0", "2")]
    assert ranks == [2, 8]
    assert "train.adapter.rank" in output
    assert len(list((project.folder / "cache/datasets").iterdir())) == 1


def test_a_wrong_setting_ends_with_status_1_and_no_traceback(project):
    output = project.run(*TRAIN, "+train.stepz=1", status=1)
    assert "did you mean steps?" in output and "Traceback" not in output
