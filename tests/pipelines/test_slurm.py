"""Two processes started as SLURM's srun starts them, on one node or on two: one run, written once."""

import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.parametrize("nodes", [1, 2])
def test_two_tasks_of_srun_train_one_lora(project, nodes):
    command = [
        sys.executable, "-m", "train", "+experiment=smoke", "train/trainer=ddp", "train.trainer.accelerator=cpu",
        f"train.trainer.devices={2 // nodes}", f"train.trainer.num_nodes={nodes}", "train.steps=4",
        "train.validation.every=0", "train.samples.every=0",
        "evaluate.quick=true", f"hydra.run.dir=runs/srun{nodes}",
    ]  # fmt: skip
    tasks = [
        subprocess.Popen(
            command, cwd=project.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env={**project.environment, **task(rank, nodes)},
        )
        for rank in range(2)
    ]  # fmt: skip
    outputs = [task.communicate(timeout=300)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], outputs
    assert [text.count("trained 4 steps") for text in outputs] == [1, 0]
    assert [text.count("Traceback") for text in outputs] == [0, 0]
    folder = project.folder / "runs" / f"srun{nodes}"
    assert (folder / "report/report.html").is_file() and list((folder / "lora").glob("*.safetensors"))


def task(rank: int, nodes: int) -> dict[str, str]:
    """What srun tells a task of a job of two."""
    port = str(20_000 + (os.getpid() + nodes) % 20_000)
    node, place = (rank, 0) if nodes == 2 else (0, rank)
    numbers = {
        "SLURM_PROCID": rank, "SLURM_LOCALID": place, "SLURM_NODEID": node, "SLURM_NTASKS": 2, "SLURM_NNODES": nodes,
        "SLURM_NTASKS_PER_NODE": 2 // nodes,
    }  # fmt: skip
    return {
        "SLURM_JOB_ID": "12345", "SLURM_JOB_NAME": "lora", "SLURM_NODELIST": "localhost", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port, **{name: str(number) for name, number in numbers.items()},
    }  # fmt: skip
