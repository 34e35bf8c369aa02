"""What plan, card and metadata tell of a training, from its settings and a run's facts."""

from lorakiln.facts import RunFacts
from lorakiln.schema.optimizers import OptimizerSettings
from lorakiln.schema.train import ObjectiveSettings, TrainSettings

TIMESTEPS = 1000  # Stable Diffusion's, of runs from before they were recorded


def rates(optimizer: OptimizerSettings) -> str:
    """The learning rates: "0.001", or "0.001 (mid_block 0, up_blocks 0.0002)"."""
    parts = ", ".join(f"{part} {rate:g}" for part, rate in sorted(optimizer.part_lrs.items()))
    return f"{optimizer.lr:g}" + (f" ({parts})" if parts else "")


def timesteps(facts: RunFacts) -> tuple[int, int, int]:
    """The first timestep that was trained on, the one after the last, and how many the model has."""
    return facts.timesteps or timestep_range(facts.made_with("train", TrainSettings).objective, TIMESTEPS)


def timestep_range(objective: ObjectiveSettings, total: int) -> tuple[int, int, int]:
    """The same for a model of `total` timesteps."""
    return objective.min_timestep, min(objective.max_timestep or total, total), total


def range_text(low: int, high: int, total: int) -> str:
    """ "300 to 999, of 0 to 999"; empty for all of them."""
    return "" if (low, high) == (0, total) else f"{low} to {high - 1}, of 0 to {total - 1}"
