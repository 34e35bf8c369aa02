"""One training for the other benchmarks, in as many processes as told.

    python -m benchmarks.one_run FOLDER OVERRIDE ...

Trains on what `paths.encoded` holds (after `make demo`: the demo's pictures) into FOLDER/run.
"""

import os
import subprocess
import sys
from pathlib import Path

# Nothing that only one process does.
PLAIN = (
    "+experiment=demo_style",
    "train/trainer=ddp",
    "train.trainer.threads=1",
    "train.trainer.precision=fp32",
    "train/tracker=none",
    "train.save_every=0",
    "train.checkpoint_every=0",
    "train.validation.every=0",
    "train.samples.every=0",
    "train.scheduler.warmup_steps=0",
)


def run_apart(folder: Path, *overrides: str) -> Path:
    """Train in processes of its own; the run's folder."""
    # cuBLAS is deterministic with this workspace alone.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    command = [sys.executable, "-m", "benchmarks.one_run", str(folder), *PLAIN, *overrides]
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return folder / "run"


def main() -> None:
    # Late: who only starts it shall stay small.
    from lorakiln.schema.whole_config import check_whole
    from lorakiln.train import train
    from pipelines.compose import compose_config

    folder, config = Path(sys.argv[1]), check_whole(compose_config(sys.argv[2:]))
    train(Path(config.paths.encoded), folder / "run", config.train, config.model, folder / "cache" / "checkpoints")


if __name__ == "__main__":
    from lorakiln.console.errors import exit_on_user_error

    sys.exit(exit_on_user_error(main))
