"""What plan, card and metadata tell of a training, from its settings and a run's facts."""

from lorakiln.diffusion.processes.ddpm import compute_timestep_range
from lorakiln.facts.run import RunFacts
from lorakiln.schema.adapters import AdapterSettings
from lorakiln.schema.optimizers import OptimizerSettings
from lorakiln.schema.train import TrainSettings

TIMESTEPS = 1000  # Stable Diffusion's, of runs from before they were recorded


def format_rates(optimizer: OptimizerSettings, adapter: AdapterSettings) -> str:
    """The learning rates: "0.001", "0.001 (mid_block 0, up_blocks 0.0002; B 16 times as fast)", "1 x what prodigy
    finds"."""
    parts = ", ".join(f"{part} {rate:g}" for part, rate in sorted(optimizer.part_lrs.items()))
    found = f" x what {optimizer.kind} finds" if optimizer.finds_rate else ""
    ratio: float = getattr(adapter, "rate_ratio", 1.0)  # LoRA's kinds alone
    told = "; ".join([*filter(None, [parts]), *([f"B {ratio:g} times as fast"] if ratio != 1 else [])])
    return f"{optimizer.lr:g}{found}" + (f" ({told})" if told else "")


def read_timesteps(facts: RunFacts) -> tuple[int, int, int]:
    """The first timestep that was trained on, the one after the last, and how many the model has."""
    if facts.timesteps:
        return facts.timesteps
    objective = facts.made_with("train", TrainSettings).objective
    return compute_timestep_range(objective.min_timestep, objective.max_timestep, TIMESTEPS)
