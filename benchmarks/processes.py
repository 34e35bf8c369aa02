"""How much faster two processes train than one: gloo on two cores against one on one, in one run on one machine.

Both train the same global batch for the same steps on the embedded model, each process with one thread. Blocks
alternate, so that what else the machine does meets both alike. Needs two idle cores, and the demo's encoded pictures:

    make demo && PYTHONPATH=src python -m benchmarks.processes [--steps 40] [--blocks 3] [--batch 8] [OVERRIDE ...]

Prints steps per second of each (the best block) and the ratio; 2 would be perfect.
"""

import argparse
import json
import tempfile
from pathlib import Path

from benchmarks.one_run import run_apart


def speed(devices: int, given: argparse.Namespace) -> float:
    """Steps per second of a training, its start left out."""
    with tempfile.TemporaryDirectory() as folder:
        run = run_apart(
            Path(folder),
            "train.trainer.accelerator=cpu",
            f"train.trainer.devices={devices}",
            f"train.steps={given.steps}",
            f"train.batch_size={given.batch}",
            f"train.tracker.log_every={given.steps}",
            *given.overrides,
        )
        return json.loads((run / "provenance.json").read_text())["steps_per_second"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("overrides", nargs="*", help="more of the config's settings")
    given = parser.parse_args()
    speeds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(given.blocks):
        for devices, found in speeds.items():
            found.append(speed(devices, given))
    one, two = (max(found) for found in speeds.values())
    print(f"1 process: {one:.2f} steps/s, 2 processes: {two:.2f} steps/s, ratio {two / one:.2f}")


if __name__ == "__main__":
    main()
