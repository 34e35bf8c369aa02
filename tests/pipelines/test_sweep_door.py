"""`python -m train ... -m`: searches and other launchers through the real command."""

import json
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
# The smallest of evaluations: these tests are about sweeps.
TRAIN = (
    sys.executable, "-m", "train", "+experiment=smoke", "train/tracker=none", "train.samples.every=0",
    "evaluate.prompts=['a cat, {trigger}, blue background']",
)  # fmt: skip


def statuses(sweep):
    found = [json.loads(path.read_text()) for path in sweep.glob("*/job.json")]
    return sorted(record["status"] for record in found)


def test_two_processes_search_one_study_for_two_objectives_and_the_same_command_finds_it_done(project):
    command = (
        *TRAIN, "hydra/sweeper=optuna", "hydra.sweeper.trials=2", "hydra.sweeper.startup_trials=1",
        "hydra.sweeper.objectives=[likeness,validation_loss]", "hydra.sweep.dir=runs/smoke/search",
        "train.adapter.rank=2,4", "train.optimizer.lr=tag(log, interval(1e-4, 1e-2))", "-m",
    )  # fmt: skip
    both = [
        subprocess.Popen(
            command, cwd=project.folder, env=project.environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(2)
    ]  # fmt: skip
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


def test_a_job_on_two_devices_through_submitit(project):
    output = project.run(
        *TRAIN, "hydra/launcher=submitit_local", "train/trainer=ddp", "train.trainer.accelerator=cpu",
        "train.trainer.devices=2", "hydra.sweep.dir=runs/smoke/submitit", "-m"
    )  # fmt: skip
    assert "sweep: submitted" in output
    sweep = project.folder / "runs/smoke/submitit"
    assert statuses(sweep) == ["finished"]
    (run,) = (path.parent.parent for path in sweep.glob("*/run/provenance.json"))
    assert json.loads((run / "run/provenance.json").read_text())["devices"] == 2


@pytest.mark.ray
def test_a_job_through_a_local_ray(project):
    pytest.importorskip("ray")
    project.run(
        *TRAIN, "hydra/launcher=ray", "hydra.launcher.cpus=2", "train.seed=3", "hydra.sweep.dir=runs/smoke/ray", "-m"
    )  # fmt: skip
    assert statuses(project.folder / "runs/smoke/ray") == ["finished"]


def test_what_cannot_be_searched_or_launched_is_told_without_a_traceback(project):
    optuna = project.run(*TRAIN, "hydra/sweeper=optuna", "-m", status=1)
    assert "nothing to search" in optuna and "Traceback" not in optuna
    slurm = project.run(*TRAIN, "hydra/launcher=submitit_slurm", "train.seed=1,2", "-m", status=1)
    assert "hydra/launcher=submitit_slurm" in slurm and "Traceback" not in slurm
