"""What plan, card and metadata tell of a training, from its settings and a run's facts."""

from collections.abc import Mapping
from typing import Any

from lorakiln.diffusion.processes.ddpm import timestep_range

TIMESTEPS = 1000  # Stable Diffusion's, of runs from before they were recorded


def rates(optimizer: Mapping[str, Any]) -> str:
    """The learning rates: "0.001", or "0.001 (mid_block 0, up_blocks 0.0002)".

    Args:
        optimizer: the settings train.optimizer.
    """
    parts = ", ".join(f"{part} {rate:g}" for part, rate in sorted(optimizer.get("part_lrs", {}).items()))
    return f"{optimizer['lr']:g}" + (f" ({parts})" if parts else "")


def timesteps(facts: Mapping[str, Any]) -> tuple[int, int, int]:
    """The first timestep that was trained on, the one after the last, and how many the model has.

    Args:
        facts: a run's facts.json.
    """
    if told := facts.get("timesteps"):
        low, high, total = told
        return low, high, total
    objective = facts["settings"]["train"]["objective"]
    return timestep_range(objective["min_timestep"], objective["max_timestep"], TIMESTEPS)
