"""On which device a stage computes; a GPU that is there and that torch cannot use: why, and what mends it."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from lorakiln.console.errors import UserError

if TYPE_CHECKING:
    import torch

NVIDIA = Path("/proc/driver/nvidia/version")  # the kernel's driver, whatever torch makes of it
# One of these is there wherever torch may find a GPU: NVIDIA's driver, the same in WSL, AMD's.
DRIVERS = (NVIDIA, Path("/dev/nvidiactl"), Path("/dev/dxg"), Path("/dev/kfd"))
INSTALL = "pip install torch --index-url https://download.pytorch.org/whl/cu126 (or another: pytorch.org tells which)"


def explain_unusable_gpu() -> str:
    """Why torch sees no GPU though the machine has its driver, and what mends it; "" where there is nothing to say."""
    import torch

    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")  # on purpose
    if torch.cuda.is_available() or hidden or not NVIDIA.exists():
        return ""
    if not torch.version.cuda:
        return f"a GPU is there, but torch {torch.__version__} is a build without CUDA; {INSTALL}"
    return (
        f"a GPU is there, but its driver does not run torch {torch.__version__}'s CUDA {torch.version.cuda}; update "
        f"the driver, or install a torch for an older CUDA: {INSTALL}"
    )


@cache
def warn_of_unusable_gpu() -> None:
    """Say so on stderr, once in a process, before hours are spent on the CPU that a GPU would do in minutes."""
    if why := explain_unusable_gpu():
        print(f"warning: this computes on the CPU: {why}", file=sys.stderr, flush=True)


def choose_device(wanted: str = "auto") -> torch.device:
    """The device for `auto`, `cpu` or `cuda`; UserError if there is no such device. Where `auto` is the CPU though a
    GPU is there, a warning says what mends that.
    """
    import torch

    if wanted == "cuda" and not torch.cuda.is_available():
        fix = "set device to auto or cpu, or install a CUDA build of torch"
        raise UserError("torch sees no CUDA device", fix=fix)
    if wanted == "auto":
        wanted = find_device_type()
        warn_of_unusable_gpu()
    return torch.device(wanted)


def find_device_type() -> str:
    """What `auto` comes to, "cuda" or "cpu". Torch is asked only where there may be a GPU, or where it is loaded."""
    if "torch" not in sys.modules and sys.platform.startswith("linux") and not any(one.exists() for one in DRIVERS):
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def describe_device(device: torch.device) -> str:
    """Where a stage computes, for the line that says so: "the CPU", "cuda (NVIDIA GeForce RTX 4090)"."""
    if device.type != "cuda":
        return "the CPU"
    import torch

    return f"{device} ({torch.cuda.get_device_name(device)})"
