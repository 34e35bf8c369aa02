"""What is written and told of a sweep's jobs, from reports without pictures; and the plan before it."""

import json
from types import SimpleNamespace

import pytest
import yaml

from lorakiln.sweep.jobs import Job, Outcome
from lorakiln.sweep.plan import pace, plan
from lorakiln.sweep.results import sum_up


@pytest.fixture
def outcomes(tmp_path, write_report):
    """Three jobs with results, one pruned."""
    found = []
    for number, values in enumerate([(0.9, 20.0, 0.3), (0.8, 29.0, 0.1), (0.7, 25.0, 0.2)]):
        settings = {"paths": {}, "evaluate": {"quick": True}, "train": {"seed": number}}
        job = Job(number, (f"train.seed={number}",), tmp_path / str(number), f"seed={number}", settings)
        write_report(job.folder, *values)
        found.append(Outcome(job, "finished", 1.0))
    return [*found, Outcome(Job(3, (), tmp_path / "3", "seed=3", {}), "pruned", 1.0, "hopeless")]


def test_the_front_and_the_best_of_likeness_and_obedience(outcomes, tmp_path, capsys):
    values = sum_up(outcomes, tmp_path)
    assert values == {
        tmp_path / "0": (0.9, 20.0), tmp_path / "1": (0.8, 29.0), tmp_path / "2": (0.7, 25.0), tmp_path / "3": None
    }  # fmt: skip
    told = json.loads((tmp_path / "sweep.json").read_text())
    assert [(row["on_front"], row["best"]) for row in told["jobs"]] == [(True, False), (True, True), (False, False)]
    assert told["failed"] == [
        {"title": "seed=3", "folder": str(tmp_path / "3"), "status": "pruned", "reason": "hopeless"}
    ]
    assert "seed=3: pruned, hopeless" in (tmp_path / "sweep.html").read_text()
    output = capsys.readouterr().out
    assert "best: seed=1  (on the front, best mean rank in likeness and obedience)" in output
    # One that was pruned has not failed.
    assert "failed" not in output


@pytest.mark.parametrize(("objective", "best"), [("likeness", 0), ("validation_loss", 1)])
def test_of_a_search_for_one_thing_the_best_is_the_best_in_it(outcomes, tmp_path, capsys, objective, best):
    sum_up(outcomes, tmp_path, [objective])
    told = json.loads((tmp_path / "sweep.json").read_text())
    assert [row["best"] for row in told["jobs"]] == [number == best for number in range(3)]
    assert f"best: seed={best}  (by {objective})" in capsys.readouterr().out
    assert (tmp_path / "front.png").stat().st_size > 1000


def test_the_best_settings_are_evaluated_in_full(outcomes, tmp_path):
    sum_up(outcomes, tmp_path)
    assert yaml.safe_load((tmp_path / "best.yaml").read_text()) == {"evaluate": {"quick": None}, "train": {"seed": 1}}


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
    text = plan(jobs(root, 10), root, 2)
    assert "10: 10 to run; at most 2 at a time" in text and "600 in all, 2,400 pictures" in text
    assert "about 90 s and 10.0 MiB" in text and "judging by 2 finished runs" in text
    assert "seed=9" in text and "seed=9" not in plan(jobs(root, 10), root, 2, titles=False)
    assert pace(tmp_path, "none") is None


def test_a_plan_without_a_run_to_judge_by_and_one_too_large_for_the_disk(tmp_path, monkeypatch):
    root = tmp_path / "sweep"
    assert "told after the first job" in plan(jobs(root, 2), root, 1)
    write_run(tmp_path / "run1")
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2**20))
    assert "2.0 MiB; WARNING: only 1.0 MiB are free" in plan(jobs(root, 2), root, 1)
