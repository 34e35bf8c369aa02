"""Jobs that others start: real local submitit, and what a sweep asks of it and of Ray."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import cloudpickle
import pytest
import yaml

from lorakiln.console.errors import UserError
from lorakiln.sweep.jobs import Job, read_outcome
from lorakiln.sweep.ray_jobs import RayJobs
from lorakiln.sweep.remote_job import RemoteJob
from lorakiln.sweep.running import run_jobs
from lorakiln.sweep.submitit_jobs import SubmititJobs


@pytest.fixture
def executor(tmp_path):
    def make(**parameters):
        return SubmititJobs("local", tmp_path / "submitit", 2, {"timeout_min": 5, "absent": None, **parameters})

    return make


@pytest.fixture
def remote_jobs(make_jobs):
    """Scripted jobs whose class travels with them."""

    def make(*actions):
        made = make_jobs(*actions)
        cloudpickle.register_pickle_by_value(sys.modules[type(made[0]).__module__])
        return made

    return make


def test_jobs_through_submitit_end_as_they_do_here(tmp_path, executor, remote_jobs, calls):
    made = remote_jobs("ok", "fail", "ok")
    with executor() as submitit:
        outcomes = run_jobs(made, tmp_path, submitit)
        assert [one.status for one in outcomes] == ["finished", "failed", "finished"]
        assert outcomes[1].reason == "status 1: error: the rank is wrong fix: another rank"
        assert [one.status for one in run_jobs(made[:1], tmp_path, submitit)] == ["skipped"]
    assert len(calls(made[0])) == 1


def test_near_the_end_of_its_time_a_job_saves_and_is_queued_again(executor, remote_jobs, calls):
    (job,) = remote_jobs("twice")
    with executor() as submitit:
        assert submitit.run(job).status == "finished"
    assert len(calls(job)) == 2


def test_a_stop_cancels_the_job_which_saves(executor, remote_jobs, calls):
    (job,) = remote_jobs("wait")
    with executor() as submitit:

        def stop():
            while not (job.folder / "job.log").exists() or "ready" not in (job.folder / "job.log").read_text():
                time.sleep(0.05)
            submitit.stop.ask()

        threading.Thread(target=stop).start()
        assert submitit.run(job).status == "stopped"
        assert "saved" in (job.folder / "job.log").read_text()
        assert submitit.run(job).reason.startswith("not started")


@pytest.mark.slow
@pytest.mark.ray
def test_jobs_through_ray_and_a_signal_upon_which_they_save(make_jobs, tmp_path):
    ray_cloudpickle = pytest.importorskip("ray.cloudpickle")
    made = make_jobs("fail", "wait", "wait")
    ray_cloudpickle.register_pickle_by_value(sys.modules[type(made[0]).__module__])

    def logs():
        return [path.read_text() for path in tmp_path.glob("[12]/job.log")]

    def stop():
        while "ready\n" not in logs():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    with RayJobs(None, 1, 1, 3) as jobs:
        (outcome,) = run_jobs(made[:1], tmp_path, jobs)
        assert outcome.reason == "status 1: error: the rank is wrong fix: another rank"
        threading.Thread(target=stop).start()
        with pytest.raises(SystemExit) as caught:
            run_jobs(made[1:], tmp_path, jobs)
    assert caught.value.code == 143
    # There is one CPU: the other job was still waiting.
    assert logs() == ["ready\nsaved\n"]


def test_local_jobs_of_submitit_share_this_machines_gpus(monkeypatch, executor, remote_jobs, tmp_path, calls):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    made = remote_jobs("ok", "ok")
    with executor() as submitit:
        run_jobs(made, tmp_path, submitit)
    assert [calls(job) for job in made] == [["7"], ["7"]]


def test_a_job_of_several_nodes_is_refused(executor, tmp_path):
    job = Job(0, (), tmp_path / "0", "t", {"train": {"trainer": {"num_nodes": 2}}})
    outcome = executor().run(job)
    assert outcome.status == "failed" and "srun" in outcome.reason


@pytest.fixture
def slurm_parameters():
    return yaml.safe_load(Path("conf/hydra/launcher/submitit_slurm.yaml").read_text())["parameters"]


@pytest.fixture
def slurm_tools(tmp_path, monkeypatch):
    """Submitit takes a machine with srun for one of a cluster's; this sbatch refuses everything."""
    for name, script in (("srun", ""), ("sbatch", "echo 'sbatch: error: invalid partition' >&2; exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")


def test_what_sbatch_refuses_is_that_jobs_trouble(tmp_path, make_jobs, slurm_tools):
    (job,) = make_jobs("ok")
    with SubmititJobs("slurm", tmp_path / "submitit", 4, {}) as slurm:
        outcome = slurm.run(job)
    assert outcome.status == "failed" and "invalid partition" in outcome.reason


def test_slurm_is_asked_for_what_a_job_takes(tmp_path, slurm_tools, slurm_parameters):
    with SubmititJobs("slurm", tmp_path, 4, {**slurm_parameters, "slurm_partition": "gpu"}) as slurm:
        text = slurm._executor(2)._executor._make_submission_file_text("train", "0")
    for line in ("gpus-per-node=2", "signal=USR2@300", "time=240", "partition=gpu", "nodes=1", "mem=32GB"):
        assert f"#SBATCH --{line}\n" in text, text


@pytest.mark.parametrize(
    ("cluster", "parameters", "message"),
    [
        ("slurm", {}, "submitit_slurm: .*srun"),
        ("local", {"timeout_min": "long"}, "timeout_min"),
    ],
)
def test_what_submitit_refuses_is_a_users_error(tmp_path, cluster, parameters, message):
    with pytest.raises(UserError, match=message), SubmititJobs(cluster, tmp_path, 4, parameters):
        pass


@pytest.mark.parametrize(
    ("package", "make"),
    [
        ("submitit", lambda folder: SubmititJobs("local", folder, 1, {})),
        ("ray", lambda folder: RayJobs(None, 1, 1, 1)),
    ],
)
def test_an_extra_that_is_not_installed_is_named(tmp_path, monkeypatch, package, make):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match="is not installed\n  fix: pip install"), make(tmp_path):
        pass


def test_below_slurm_a_job_is_no_rank(make_jobs, monkeypatch):
    (job,) = make_jobs("name")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.chdir(os.getcwd())
    assert RemoteJob(job)().status == "finished"
    assert (job.folder / "job.log").read_text() == "bash\n"
    assert read_outcome(job).status == "finished"


class Ray:
    """Ray's answers, without Ray."""

    def __init__(self, **resources):
        self.cluster_resources = lambda: resources


@pytest.mark.parametrize(
    ("address", "per_job", "resources", "width"),
    [
        (None, 1, {"CPU": 1.0}, 1),
        (None, 2, {"CPU": 9.0}, 4),
        (None, 1, {"CPU": 16.0, "GPU": 2.0}, 2),
        (None, 0, {"CPU": 1.0}, 64),
        ("auto", 1, {"CPU": 1.0}, 64),
    ],
)
def test_no_more_jobs_run_on_ray_than_it_has_cpus_and_gpus_for(make_jobs, address, per_job, resources, width):
    ray = RayJobs(address, per_job, None, 64)
    ray._ray, ray._gpus = Ray(**resources), "GPU" in resources
    assert ray.width(make_jobs("ok", "ok")) == width
