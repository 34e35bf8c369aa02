"""Two processes started as SLURM's srun starts them, on one node or on two: one run, written once."""

import os
import signal
import subprocess
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.parametrize("nodes", [1, 2])
def test_two_tasks_of_srun_train_one_lora(project, nodes):
    command = [
        "python",
        "-m",
        "train",
        "+experiment=smoke",
        "train/trainer=ddp",
        "train.trainer.accelerator=cpu",
        f"train.trainer.devices={2 // nodes}",
        f"train.trainer.num_nodes={nodes}",
        "train.steps=4",
        "train.validation.every=0",
        "train.samples.every=0",
        "train/tracker=none",
        "evaluate.quick=true",
        f"hydra.run.dir=runs/srun{nodes}",
    ]
    tasks = [
        subprocess.Popen(
            command,
            cwd=project.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**project.with_programs(), **task(rank, nodes)},
        )
        for rank in range(2)
    ]
    outputs = [task.communicate(timeout=300)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], outputs
    assert [text.count("trained 4 steps") for text in outputs] == [1, 0]
    assert [text.count("Traceback") for text in outputs] == [0, 0]
    folder = project.folder / "runs" / f"srun{nodes}"
    assert (folder / "report/report.html").is_file() and list((folder / "lora").glob("*.safetensors"))


@pytest.mark.parametrize("stopped", [0, 1])
def test_a_task_of_srun_that_hangs_does_not_hang_the_other(project, stopped):
    """Stopped, its connections stay open, as when a machine has stopped, and gloo would wait for two hours."""
    command = [
        "python",
        "-m",
        "train",
        "+experiment=smoke",
        "train/trainer=ddp",
        "train.trainer.accelerator=cpu",
        "train.trainer.devices=2",
        "train.steps=100000",
        "train.validation.every=0",
        "train.samples.every=0",
        "train.checkpoint_every=5",
        "train/tracker=none",
        f"hydra.run.dir=runs/hangs{stopped}",
    ]
    tasks = [
        subprocess.Popen(
            command,
            cwd=project.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**project.with_programs(), **task(rank, 1)},
        )
        for rank in range(2)
    ]
    checkpoints = project.folder / "cache" / "checkpoints"
    try:
        before = set(checkpoints.rglob("*.safetensors"))
        end = time.monotonic() + 120
        while not set(checkpoints.rglob("*.safetensors")) - before and time.monotonic() < end:
            time.sleep(0.2)
        tasks[stopped].send_signal(signal.SIGTSTP)  # see preloaded/client.py
        output, _ = tasks[1 - stopped].communicate(timeout=90)
        assert tasks[1 - stopped].returncode == 1
        assert f"error: process {stopped} of this training has ended or hangs" in output and "fix:" in output
    finally:
        for one in tasks:
            one.kill()
            one.wait()


def task(rank: int, nodes: int) -> dict[str, str]:
    """What srun tells a task of a job of two."""
    port = str(20_000 + (os.getpid() + nodes) % 20_000)
    node, place = (rank, 0) if nodes == 2 else (0, rank)
    numbers = {
        "SLURM_PROCID": rank,
        "SLURM_LOCALID": place,
        "SLURM_NODEID": node,
        "SLURM_NTASKS": 2,
        "SLURM_NNODES": nodes,
        "SLURM_NTASKS_PER_NODE": 2 // nodes,
    }
    return {
        "SLURM_JOB_ID": "12345",
        "SLURM_JOB_NAME": "lora",
        "SLURM_NODELIST": "localhost",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        **{name: str(number) for name, number in numbers.items()},
    }
