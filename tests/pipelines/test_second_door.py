"""`python -m train`, once and as a sweep."""

import json
import shutil
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TRAIN = (sys.executable, "-m", "train", "+experiment=smoke")


def datasets(project):
    return set((project.folder / "cache/datasets").glob("*"))


def test_one_run_makes_its_own_folder_and_the_dataset_once(project):
    before = datasets(project)
    output = project.run(*TRAIN, "hydra.run.dir=runs/smoke/one")
    folder = project.folder / "runs/smoke/one"
    assert (folder / "lora/demo_style.safetensors").is_file() and (folder / "report/report.html").is_file()
    assert "reusing" not in output
    (dataset,) = datasets(project) - before
    assert (dataset / "encoded/index.json").is_file()


def test_a_sweep_runs_every_combination_sums_it_up_and_goes_on_where_it_was(project):
    sweep = project.folder / "runs/smoke/sweep"
    command = (*TRAIN, "train.adapter.rank=2,-1,8", "train/scheduler=constant", "-m")
    before = datasets(project)
    output = project.run(*command, status=1)
    ranks = {json.loads(path.read_text())["rank"] for path in sweep.glob("*/lora/facts.json")}
    assert ranks == {2, 8}
    assert "1 of 3 jobs failed" in output and "Traceback" not in output
    assert before and datasets(project) == before  # that of the test before
    rows = json.loads((sweep / "sweep.json").read_text())
    assert len(rows["jobs"]) == 2 and "train.adapter.rank" in rows["failed"][0]["reason"]
    assert sum(row["best"] for row in rows["jobs"]) == 1
    for name in ("sweep.csv", "sweep.html", "front.png", "comparison.png"):
        assert (sweep / name).stat().st_size > 100, name
    # The same again: the two are skipped; the third is told apart by its settings and fails as before.
    assert project.run(*command, status=1).count("finished before") >= 2
    # The best settings are an experiment that composes.
    shutil.copy(sweep / "best.yaml", project.folder / "conf/experiment/best.yaml")
    shown = project.run(sys.executable, "-m", "train", "+experiment=best", "--cfg", "job", "--package", "train.adapter")
    (project.folder / "conf/experiment/best.yaml").unlink()
    best = next(row for row in rows["jobs"] if row["best"])
    assert f"rank: {best['job'].split('rank=')[1].split()[0]}" in shown


def test_a_wrong_setting_ends_with_status_1_and_no_traceback(project):
    output = project.run(*TRAIN, "+train.stepz=1", status=1)
    assert "did you mean steps?" in output and "Traceback" not in output
