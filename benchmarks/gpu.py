"""How fast a GPU trains: ours, the bare loop, and the step of diffusers' script, on random weights of full size.

    python -m benchmarks.gpu                   # SD 1.5 at 512 pixels (batch 1, 4, 16), SDXL at 1024 (1, 4): 5 minutes
    python -m benchmarks.gpu --doctor          # before it `lorakiln doctor` on both bases, its reports beside the table
    python -m benchmarks.gpu --tiny            # the same code at a fraction of the width, on a CPU too: says nothing

The bare loop is diffusers' UNet with peft's LoRA under autocast, cached latents and embeddings on the device, and fused
AdamW. The script's step is what diffusers' train_text_to_image_lora.py does in each: pictures uploaded, VAE and text
encoders run anew, the noise made by torch, AdamW as it comes, clip_grad_norm_ over the adapter's tensors, loss.item().
Ours is the product's module under its own trainer. All train rank 16 on the attention, in what the device has best.

Prints a table: steps/s after the third step, the share of the device's matrix rate (what a product of two large square
matrices reaches; a step's operations are counted in the bare loop, for all alike), the most memory that tensors held,
and how long the first step took. Losses are not compared: `tests/train` does that.
"""

import argparse
import gc
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.gpu_loops import Clock, Wanted, run_bare, run_ours, run_script
from benchmarks.memory import TITLES
from benchmarks.rounds import table
from lorakiln.train.environment import read_device_name
from lorakiln.train.precision import HALVES, choose_precision

BATCHES = {"sd1": (1, 4, 16), "sdxl": (1, 4)}
LOOPS: dict[str, Callable[[Wanted, Clock], int | None]] = {
    "bare loop": run_bare,
    "diffusers' script's step": run_script,
    "LoRAKiln": run_ours,
}


def measure_matrix_rate(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Floating-point operations per second of products of two square matrices."""
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    clock = Clock(device, 1.0)
    clock.begin()
    while not clock.tick():
        one @ other
    return clock.rate * 2 * size**3


def measure(wanted: Wanted, rate: float) -> list[list[str]]:
    """The table's rows of a base and a batch."""
    rows, operations, bare = [], 0, 0.0
    for name, run in LOOPS.items():
        gc.collect()
        if wanted.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(wanted.device)
        torch.manual_seed(0)
        head, clock = (TITLES[wanted.kind], str(wanted.batch), name), Clock(wanted.device, wanted.seconds)
        try:
            operations = run(wanted, clock) or operations
        except torch.OutOfMemoryError:
            rows.append([*head, "out of memory", *[""] * 5])
            continue
        bare = clock.rate if run is run_bare else bare
        held = torch.cuda.max_memory_allocated(wanted.device) / 1e9 if wanted.device.type == "cuda" else None
        cells = [f"{clock.rate:.2f}", f"{clock.rate * wanted.batch:.1f}", f"{clock.rate / bare:.2f}" if bare else ""]
        cells.append(f"{operations * clock.rate / rate:.0%}" if operations else "")
        rows.append([*head, *cells, "" if held is None else f"{held:.1f}", f"{clock.first:.2f}"])
        print(f"{', '.join(head)}: {clock.rate:.2f} steps/s", file=sys.stderr, flush=True)
    return rows


def report(device: torch.device, seconds: float, tiny: bool) -> str:
    """The table, below what it was measured on."""
    dtype = HALVES.get(choose_precision("auto", device), torch.float32)
    rate = measure_matrix_rate(device, dtype, 256 if tiny else 8192)
    head = ["base", "batch", "", "steps/s", "pictures/s", "bare loop = 1", "of the matrix rate", "GB", "first step, s"]
    batches = dict.fromkeys(BATCHES, (1,)) if tiny else BATCHES
    rows = [
        row
        for kind, sizes in batches.items()
        for size in sizes
        for row in measure(Wanted(kind, size, device, seconds, tiny), rate)
    ]
    built = f"torch {torch.__version__}, CUDA {torch.version.cuda or 'none'}, matrix products in {dtype}"
    head_line = f"{datetime.now(UTC):%Y-%m-%d}, {read_device_name(device)}, {built}: "
    note = " At a fraction of the width: of no meaning." if tiny else ""
    return "\n".join([f"{head_line}{rate / 1e12:.3g} TFLOP/s.{note}", "", *table(head, rows), ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--out", type=Path, default=Path("gpu.md"), help="the table's file [gpu.md]")
    parser.add_argument("--doctor", action="store_true", help="run `lorakiln doctor` on random SD 1.5 and SDXL first")
    parser.add_argument("--tiny", action="store_true", help="a fraction of the width, wherever this runs")
    given = parser.parse_args()
    if not given.tiny and not torch.cuda.is_available():
        print("no CUDA device is here: `lorakiln doctor` says why; --tiny tries the code", file=sys.stderr)
        return 1
    for base in (("sd15",), ("sdxl", "--checkpointing")) if given.doctor else ():
        out = given.out.with_name(f"doctor-{base[0]}.txt")
        subprocess.run([sys.executable, "-m", "lorakiln", "doctor", "--random", *base, "--out", out], check=False)
    made = report(torch.device("cuda:0" if torch.cuda.is_available() else "cpu"), given.seconds, given.tiny)
    given.out.write_text(made, encoding="utf-8")
    print(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
