"""Where a run computes: what may change its last bits, and is no part of its fingerprint."""

import platform
import sys
from pathlib import Path
from typing import Any

import torch

from lorakiln.train.lora_module import LoraModule


def describe_environment(module: LoraModule) -> dict[str, Any]:
    """What the order of summation depends on, JSON-able."""
    share = module.settings.batch_size // module.share.world
    return {
        "device": read_device_name(module.flat.weights.device),
        "devices": module.share.world,
        "micro_batch": module.settings.micro_batch or share,
        "threads": torch.get_num_threads(),
        "deterministic": module.settings.deterministic,
        "attention": module.settings.trainer.attention,
        "torch": torch.__version__,
    }


def read_device_name(device: torch.device) -> str:
    """The GPU's or the processor's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine() or "cpu"


def warn_of_difference(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Say (on stderr) what is not as it was before the run was interrupted."""
    differences = [f"{name} {value}, now {now.get(name)}" for name, value in before.items() if now.get(name) != value]
    if differences:
        print(
            f"warning: the run began with {'; '.join(differences)}: it goes on, but its last bits may not be those of "
            "a run that was never interrupted",
            file=sys.stderr,
            flush=True,
        )
