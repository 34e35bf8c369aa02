"""`python -m train`, once and as a sweep."""

import json
import shutil
import signal
import subprocess
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
TRAIN = ("python", "-m", "train", "+experiment=smoke")


def datasets(project):
    return set((project.folder / "cache/datasets").glob("*"))


def test_one_run_makes_its_own_folder_and_the_dataset_once(project):
    # Another file's tests may have run in this project before.
    shutil.rmtree(project.folder / "cache/datasets", ignore_errors=True)
    output = project.run(*TRAIN, "hydra.run.dir=runs/smoke/one")
    folder = project.folder / "runs/smoke/one"
    assert (folder / "lora/demo_style.safetensors").is_file() and (folder / "report/report.html").is_file()
    assert "reusing" not in output
    assert "  memory      base 0.0" in output
    (dataset,) = datasets(project)
    assert (dataset / "encoded/index.json").is_file()


def test_a_sweep_runs_every_combination_sums_it_up_and_goes_on_where_it_was(project):
    sweep = project.folder / "runs/smoke/sweep"
    command = (*TRAIN, "train.adapter.targets=attention,[nothing]", "train/scheduler=constant,linear", "-m")
    before = datasets(project)
    assert killed_after_the_first_job(project, command, sweep) != 0
    output = project.run(*command, status=1)
    assert "3 to run, 1 finished before" in output
    facts = [json.loads(path.read_text()) for path in sweep.glob("*/lora/facts.json")]
    made = sorted((one["rank"], one["settings"]["train"]["scheduler"]["kind"]) for one in facts)
    assert made == [(4, "constant"), (4, "linear")]
    assert "2 of 4 jobs failed" in output and "Traceback" not in output
    assert before and datasets(project) == before  # that of the test before
    rows = json.loads((sweep / "sweep.json").read_text())
    assert len(rows["jobs"]) == 2 and "train.adapter.targets" in rows["failed"][0]["reason"]
    assert sum(row["best"] for row in rows["jobs"]) == 1
    for name in ("sweep.csv", "sweep.html", "front.png", "comparison.png"):
        assert (sweep / name).stat().st_size > 100, name
    # The same again: the two are skipped; the others fail as before.
    assert "2 to run, 2 finished before" in project.run(*command, status=1)
    # The best settings are an experiment that composes.
    shutil.copy(sweep / "best.yaml", project.folder / "conf/experiment/best.yaml")
    shown = project.run("python", "-m", "train", "+experiment=best", "--cfg", "job", "--package", "train.adapter")
    (project.folder / "conf/experiment/best.yaml").unlink()
    best = next(row for row in rows["jobs"] if row["best"])
    assert "targets: attention" in shown and best["job"].startswith("train.adapter.targets=attention")


def killed_after_the_first_job(project, command, sweep):
    """Start the sweep and end it as a shell does when the first job is finished; its exit status."""
    with (project.folder / "killed.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=project.folder, env=project.with_programs(), stdout=log, stderr=log, start_new_session=True
        )
        end = time.monotonic() + 200
        while not any('"finished"' in path.read_text() for path in sweep.glob("*/job.json")):
            assert process.poll() is None and time.monotonic() < end, (project.folder / "killed.log").read_text()
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        return process.wait(60)


def test_a_sweep_with_a_wrong_setting_starts_nothing(project):
    swept = ("train.adapter.rank=abc,4", "train.optimizer.lr=1e-3,5", "hydra.sweep.dir=runs/smoke/wrong", "-m")
    output = project.run(*TRAIN, *swept, status=1)
    assert "train.adapter.rank: Input should be a valid integer" in output and "3 of 4 jobs are wrong" in output
    assert "sweep plan" not in output and "Traceback" not in output
    assert not (project.folder / "runs/smoke/wrong").exists() or not list(
        (project.folder / "runs/smoke/wrong").glob("*/")
    )


def test_a_wrong_setting_ends_with_status_1_and_no_traceback(project):
    output = project.run(*TRAIN, "+train.stepz=1", status=1)
    assert "did you mean steps?" in output and "Traceback" not in output
