"""Whether several devices train the LoRA that one trains: the same losses, the same adapter.

    make demo && PYTHONPATH=src python -m benchmarks.check_devices --accelerator gpu --devices 2 [--steps 50]

Needs as many GPUs as `--devices`, and a torch with CUDA and NCCL (`torch.cuda.nccl.version()` tells); with
`--accelerator cpu` it does the same over gloo. Trains the demo on one device and on all, in fp32 with deterministic
algorithms. Bars: losses within 1e-5 relative, the adapter within 1e-4 of its norm; on GPUs ten times that, for their
kernels sum in another order when the batch has another size. Ends with status 1 if a bar is missed.
"""

import argparse
import csv
import os
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks.one_run import run_apart
from lorakiln.artefacts.tensor_files import load_tensors

BARS = {"cpu": (1e-5, 1e-4), "gpu": (1e-4, 1e-3)}


def trained(devices: int, given: argparse.Namespace) -> tuple[list[float], torch.Tensor]:
    """Losses of all steps, and the adapter as one vector."""
    with tempfile.TemporaryDirectory() as folder:
        run = run_apart(
            Path(folder),
            f"train.trainer.accelerator={given.accelerator}",
            f"train.trainer.devices={devices}",
            f"train.steps={given.steps}",
            f"train.batch_size={4 * given.devices}",
            "train.deterministic=true",
            "train.optimizer.lr=1e-4",
            "train.tracker.log_every=1",
            *given.overrides,
        )
        with (run / "metrics.csv").open() as file:
            losses = [float(row["loss"]) for row in csv.DictReader(file)]
        tensors, _ = load_tensors(next((run / "adapters").iterdir()))
        return losses, torch.cat([tensors[name].flatten() for name in sorted(tensors)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accelerator", choices=BARS, default="gpu")
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("overrides", nargs="*", help="more of the config's settings")
    given = parser.parse_args()
    there = torch.cuda.device_count() if given.accelerator == "gpu" else given.devices
    if there < given.devices:
        print(f"{given.devices} GPUs are needed, {there} are here", file=sys.stderr)
        return 1
    # The bars are fp32's; cuDNN's convolutions round to TF32 unless told otherwise.
    os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
    (one, single), (several, shared) = (trained(devices, given) for devices in (1, given.devices))
    loss = max(abs(a - b) / abs(a) for a, b in zip(one, several, strict=True))
    adapter = ((single - shared).norm() / single.norm()).item()
    print(f"1 and {given.devices} devices, {given.steps} steps: losses differ by {loss:.1e}, adapters by {adapter:.1e}")
    return int(not (loss < BARS[given.accelerator][0] and adapter < BARS[given.accelerator][1]))


if __name__ == "__main__":
    sys.exit(main())
