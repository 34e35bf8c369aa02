"""Jobs as processes of this machine, with small commands in the place of training."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.sweep.devices import Claims
from lorakiln.sweep.job_process import run_job
from lorakiln.sweep.jobs import Job, read_outcome
from lorakiln.sweep.local_jobs import LocalProcesses
from lorakiln.sweep.running import run_jobs
from lorakiln.sweep.stopping import Stop


def run(jobs, root, at_once=None, gpus=()):
    return run_jobs(jobs, root, LocalProcesses(at_once, Claims(gpus, root / "gpus")))


def statuses(outcomes):
    return [one.status for one in outcomes]


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_failing_job_does_not_sink_the_rest_and_says_why(tmp_path, make_jobs, capsys):
    outcomes = run(make_jobs("ok", "fail", "die", "ok"), tmp_path)
    assert statuses(outcomes) == ["finished", "failed", "failed", "finished"]
    assert outcomes[1].reason == "status 1: error: the rank is wrong fix: another rank"
    assert outcomes[2].reason == "status -9: it printed nothing"
    assert read_json(tmp_path / "1" / "job.json")["status"] == "failed"
    output = capsys.readouterr().out
    assert "4: 4 to run; at most 1 at a time" in output and "40 in all" in output and "sweep 4/4" in output


def test_the_same_command_again_skips_what_is_finished_and_runs_what_is_not(tmp_path, make_jobs, calls):
    made = make_jobs("ok", "fail")
    run(made, tmp_path)
    assert statuses(run(made, tmp_path)) == ["skipped", "failed"]
    assert (len(calls(made[0])), len(calls(made[1]))) == (1, 2)
    # What was trained before is taken by none of those that run again.
    trained = [job.folder / "trained.json" for job in made]
    for path in trained:
        path.touch()
    assert statuses(run(made, tmp_path)) == ["skipped", "failed"] and all(path.exists() for path in trained)
    assert statuses(run(make_jobs("ok", "fail", again=True), tmp_path)) == ["finished", "failed"]
    assert len(calls(made[0])) == 2 and not any(path.exists() for path in trained)


def test_a_retry_keeps_the_log_of_the_first_try_and_tells_its_own_reason(make_jobs):
    (job,) = make_jobs("fail")
    job.folder.mkdir()
    (job.folder / "job.log").write_text("error: the memory was not enough\n")
    assert run_job(job, Stop()).reason == "status 1: error: the rank is wrong fix: another rank"
    lines = (job.folder / "job.log").read_text().splitlines()
    assert lines[0] == "error: the memory was not enough" and lines[2].startswith("==== again, 20")
    assert lines[3:] == ["error: the rank is wrong", "  fix: another rank"]
    (silent,) = make_jobs("die")
    assert run_job(silent, Stop()).reason == run_job(silent, Stop()).reason == "status -9: it printed nothing"


def test_other_settings_in_the_same_folder_are_another_job(tmp_path, make_jobs):
    (job,) = make_jobs("ok")
    run([job], tmp_path)
    changed = Job(0, job.overrides, job.folder, job.title, {"train": {"steps": 11}})
    assert job.finished() and not changed.finished()
    assert read_outcome(job).status == "finished" and read_outcome(changed).status == "stopped"


def test_a_job_that_was_killed_with_the_sweep_runs_again(tmp_path, make_jobs):
    (job,) = make_jobs("ok")
    job.folder.mkdir()
    write_json(job.folder / "job.json", {"status": "running", "settings": job.key})
    assert not job.finished()
    assert statuses(run([job], tmp_path)) == ["finished"]


def test_jobs_at_once_run_at_once(tmp_path, make_jobs):
    outcomes, began = run(make_jobs(*["sleep"] * 4), tmp_path, at_once=4), time.monotonic()
    assert statuses(outcomes) == ["finished"] * 4
    assert time.monotonic() - began < sum(one.seconds for one in outcomes)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_the_running_job_and_no_other_starts(tmp_path, make_jobs, calls, number, capsys):
    made = make_jobs("wait", "ok")

    def stop():
        wait_for(lambda: "ready" in (made[0].folder / "job.log").read_text() if calls(made[0]) else False)
        os.kill(os.getpid(), number)

    threading.Thread(target=stop).start()
    with pytest.raises(SystemExit) as caught:
        run(made, tmp_path)
    assert caught.value.code == 128 + number
    assert not calls(made[1])
    assert read_outcome(made[0]).status == "stopped"
    assert "goes on where it was" in capsys.readouterr().err


def test_a_second_process_waits_for_the_first_and_finds_the_job_done(make_jobs, calls):
    (job,) = make_jobs("sleep")
    first = threading.Thread(target=run_job, args=(job, Stop()))
    first.start()
    wait_for(lambda: calls(job))
    assert run_job(job, Stop()).status == "skipped"
    first.join()
    assert len(calls(job)) == 1


def test_a_job_keeps_its_lock_when_the_sweep_is_killed(tmp_path, make_jobs):
    (job,) = make_jobs("ok")
    job.folder.mkdir()
    # As a process that a killed sweep has started: it has inherited the lock.
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, 2);"
            "print(1, flush=True); time.sleep(1)",
            str(job.folder / "job.lock"),
        ],
        stdout=subprocess.PIPE,
    )
    holder.stdout.readline()
    began = time.monotonic()
    assert run_job(job, Stop()).status == "finished"
    assert time.monotonic() - began > 0.8 and holder.wait() == 0


def test_a_judge_ends_a_hopeless_job(make_jobs):
    (job,) = make_jobs("worse")
    seen = []

    def prune(step, loss):
        seen.append((step, loss))
        return loss > 3

    assert run_job(job, Stop(), pruner=prune).status == "pruned"
    assert seen == [(0, 1.0), (1, 2.0), (2, 3.0), (3, 4.0)]
    assert read_outcome(job).status == "pruned"


def test_a_folder_that_cannot_be_made_is_that_jobs_trouble(tmp_path, make_jobs):
    made = make_jobs("ok", "ok")
    made[0].folder.write_text("in the way")
    outcomes = run(made, tmp_path)
    assert statuses(outcomes) == ["failed", "finished"]
    assert "it could not be started" in outcomes[0].reason


def test_the_command_is_one_that_hydra_reads(tmp_path):
    job = Job(0, ("+experiment=smoke", "train.adapter.rank=8"), tmp_path / "a=1,b=[2]", "t", {})
    done = subprocess.run(
        [*job.command, "--cfg", "hydra", "--package", "hydra.run"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": "src"},
    )
    assert done.returncode == 0, done.stderr
    assert "a=1,b=[2]" in done.stdout
