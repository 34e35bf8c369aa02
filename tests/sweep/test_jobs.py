"""Jobs as processes, with small commands in the place of training."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from lorakiln.artefacts.records import read_json, write_json
from lorakiln.sweep.jobs import Job, plan, run_jobs

SCRIPT = """
import json, os, pathlib, sys
folder, action = pathlib.Path(sys.argv[1]), sys.argv[2]
with open(folder / "calls", "a") as calls: calls.write(os.environ.get("CUDA_VISIBLE_DEVICES", "-") + "\\n")
if action == "fail": print("error: the rank is wrong\\n  fix: another rank"); sys.exit(1)
if action == "die": os.kill(os.getpid(), 9)
if action == "wait": import time; time.sleep(60)
(folder / "report").mkdir(exist_ok=True); (folder / "report" / "metrics.json").write_text("{}")
"""


class Scripted(Job):
    @property
    def command(self):
        return [sys.executable, "-c", SCRIPT, str(self.folder), self.title]


def jobs(root, *actions):
    settings = [{"train": {"steps": 10, "rank": number}} for number in range(len(actions))]
    return [
        Scripted(number, (f"rank={number}",), root / str(number), action, settings[number])
        for number, action in enumerate(actions)
    ]


def calls(job):
    return len((job.folder / "calls").read_text().splitlines())


def test_a_failing_job_does_not_sink_the_rest_and_says_why(tmp_path, capsys):
    made = jobs(tmp_path, "ok", "fail", "die", "ok")
    outcomes = run_jobs(made, tmp_path)
    assert [one.status for one in outcomes] == ["finished", "failed", "failed", "finished"]
    assert outcomes[1].reason == "status 1: error: the rank is wrong fix: another rank"
    assert outcomes[2].reason == "status -9: it printed nothing"
    assert read_json(tmp_path / "1" / "job.json")["status"] == "failed"
    output = capsys.readouterr().out
    assert "4 jobs, 0 of them finished before; 40 training steps" in output and "sweep 4/4" in output


def test_the_same_command_again_skips_what_is_finished_and_runs_what_is_not(tmp_path):
    made = jobs(tmp_path, "ok", "fail")
    run_jobs(made, tmp_path)
    assert [one.status for one in run_jobs(made, tmp_path)] == ["skipped", "failed"]
    assert (calls(made[0]), calls(made[1])) == (1, 2)
    assert [one.status for one in run_jobs(made, tmp_path, again=True)] == ["finished", "failed"]
    assert calls(made[0]) == 2


def test_other_settings_in_the_same_folder_are_another_job(tmp_path):
    (job,) = jobs(tmp_path, "ok")
    run_jobs([job], tmp_path)
    changed = Scripted(0, job.overrides, job.folder, job.title, {"train": {"steps": 11}})
    assert job.finished() and not changed.finished()


def test_a_job_that_was_killed_with_the_sweep_runs_again(tmp_path):
    (job,) = jobs(tmp_path, "ok")
    job.folder.mkdir()
    write_json(job.folder / "job.json", {"status": "running", "settings": job.key})
    assert not job.finished()
    assert [one.status for one in run_jobs([job], tmp_path)] == ["finished"]


def test_jobs_at_once_run_at_once(tmp_path):
    made = jobs(tmp_path, *["ok"] * 4)
    assert all(one.status == "finished" for one in run_jobs(made, tmp_path, at_once=4))


def test_no_two_jobs_share_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    made = jobs(tmp_path, *["ok"] * 4)
    run_jobs(made, tmp_path)
    seen = [(job.folder / "calls").read_text().strip() for job in made]
    assert set(seen) <= {"3", "5"}
    run_jobs(made, tmp_path, at_once=1, again=True)
    assert [(job.folder / "calls").read_text().split()[-1] for job in made] == ["3,5"] * 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_running_job_and_no_other_starts(tmp_path, number, capsys):
    made = jobs(tmp_path, "wait", "ok")

    def stop():
        while not (made[0].folder / "calls").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    threading.Thread(target=stop).start()
    with pytest.raises(SystemExit) as caught:
        run_jobs(made, tmp_path)
    assert caught.value.code == 128 + number
    assert not (made[1].folder / "calls").exists()
    assert "goes on where it was" in capsys.readouterr().err


def test_the_plan_takes_its_speed_from_runs_beside_it(tmp_path):
    run = tmp_path / "one" / "run"
    run.mkdir(parents=True)
    (run / "provenance.json").write_text('{\n "steps_per_second": 5.0\n}')
    text = plan(jobs(tmp_path / "sweep", *["ok"] * 60), tmp_path / "sweep", 1, False)
    assert "about 2 min at 5.0 steps/s" in text


def test_the_command_is_one_that_hydra_reads(tmp_path):
    job = Job(0, ("+experiment=smoke", "train.adapter.rank=8"), tmp_path / "a=1,b=[2]", "t", {})
    done = subprocess.run(
        [*job.command, "--cfg", "hydra", "--package", "hydra.run"], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": "src"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "a=1,b=[2]" in done.stdout
