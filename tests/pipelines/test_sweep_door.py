"""`python -m train ... -m`: searches and other launchers through the real command."""

import json
import re
import subprocess

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
# The smallest of evaluations: these tests are about sweeps.
TRAIN = (
    "python",
    "-m",
    "train",
    "+experiment=smoke",
    "train/tracker=none",
    "train.samples.every=0",
    "evaluate.prompts=['a cat, {trigger}, blue background']",
)

LEARNS_FIRST = 2  # a seed with which the search draws the first of two values, then the second


def statuses(sweep):
    found = [json.loads(path.read_text()) for path in sweep.glob("*/job.json")]
    return sorted(record["status"] for record in found)


def test_two_processes_search_one_study_for_two_objectives_and_the_same_command_finds_it_done(project):
    command = (
        *TRAIN,
        "hydra/sweeper=optuna",
        "hydra.sweeper.trials=2",
        "hydra.sweeper.startup_trials=1",
        "hydra.sweeper.objectives=[likeness,validation_loss]",
        "hydra.sweep.dir=runs/smoke/search",
        "train.adapter.rank=2,4",
        "train.optimizer.lr=tag(log, interval(1e-4, 1e-2))",
        "-m",
    )
    both = [
        subprocess.Popen(
            command,
            cwd=project.folder,
            env=project.with_programs(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=240)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    sweep = project.folder / "runs/smoke/search"
    assert statuses(sweep) == ["finished"] * 2
    # Each did a part.
    assert all(": finished in" in output and "validation_loss 0." in output for output in outputs), outputs
    again = project.run(*command)
    assert "2 trials, 2 ended before" in again and "best: train.adapter.rank=" in again
    told = json.loads((sweep / "sweep.json").read_text())
    assert told["objectives"] == ["likeness", "validation_loss"] and len(told["jobs"]) == 2
    assert (sweep / "sweep.html").is_file() and (sweep / "best.yaml").is_file()


def test_a_hopeless_run_is_pruned_by_its_validation_loss(project):
    """The first trial learns, the second, with next to no learning rate, does not get better than the base model."""
    output = project.run(
        *TRAIN,
        "hydra/sweeper=optuna",
        "hydra.sweeper.objectives=[likeness]",
        "hydra.sweeper.prune=true",
        "hydra.sweeper.prune_startup_trials=1",
        "hydra.sweeper.trials=2",
        f"hydra.sweeper.seed={LEARNS_FIRST}",
        "train.optimizer.lr=1e-3,1e-9",
        "train.steps=30",
        "hydra.sweep.dir=runs/smoke/pruned",
        "-m",
    )
    sweep = project.folder / "runs/smoke/pruned"
    assert re.findall(r"^sweep (\d/2) .*: (finished|pruned)", output, re.MULTILINE) == [
        ("1/2", "finished"),
        ("2/2", "pruned"),
    ]
    assert statuses(sweep) == ["finished", "pruned"]
    told = json.loads((sweep / "sweep.json").read_text())
    assert [row["job"] for row in told["jobs"]] == ["train.optimizer.lr=0.001"]
    assert [row["status"] for row in told["failed"]] == ["pruned"]
    assert "jobs failed" not in output


def test_a_job_on_two_devices_through_submitit(project):
    output = project.run(
        *TRAIN,
        "hydra/launcher=submitit_local",
        "train/trainer=ddp",
        "train.trainer.accelerator=cpu",
        "train.trainer.devices=2",
        "hydra.sweep.dir=runs/smoke/submitit",
        "-m",
    )
    # One job is called by its experiment, not by all that was set.
    assert re.search(r"sweep: submitted \S+: smoke$", output, re.MULTILINE)
    sweep = project.folder / "runs/smoke/submitit"
    assert statuses(sweep) == ["finished"]
    (run,) = (path.parent.parent for path in sweep.glob("*/run/provenance.json"))
    assert json.loads((run / "run/provenance.json").read_text())["devices"] == 2


@pytest.mark.ray
def test_a_job_through_a_local_ray(project):
    pytest.importorskip("ray")
    project.run(
        *TRAIN, "hydra/launcher=ray", "hydra.launcher.cpus=2", "train.seed=3", "hydra.sweep.dir=runs/smoke/ray", "-m"
    )
    assert statuses(project.folder / "runs/smoke/ray") == ["finished"]


def test_what_cannot_be_searched_or_launched_is_told_without_a_traceback(project):
    optuna = project.run(*TRAIN, "hydra/sweeper=optuna", "-m", status=1)
    assert "nothing to search" in optuna and "Traceback" not in optuna
    slurm = project.run(*TRAIN, "hydra/launcher=submitit_slurm", "train.seed=1,2", "-m", status=1)
    assert "hydra/launcher=submitit_slurm" in slurm and "Traceback" not in slurm
    basic = ("hydra/launcher=basic", "train.adapter.rank=abc,def", "hydra.sweep.dir=runs/smoke/basic", "-m")
    output = project.run(*TRAIN, *basic, status=1)
    assert "got 'abc'" in output and "got 'def'" in output and "failed: jobs 0, 1" in output
    assert "Traceback" not in output and "Error executing job" not in output
    likness = project.run(
        *TRAIN, "hydra/sweeper=optuna", "hydra.sweeper.objectives=[likness]", "train.seed=1,2", "-m", status=1
    )
    assert "did you mean likeness?" in likness and "sweep plan" not in likness
