"""What the jobs of a sweep found."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakiln.artefacts.json_files import read_json
from lorakiln.facts.run import RunFacts
from lorakiln.sweep.jobs import Outcome
from lorakiln.sweep.objectives import (
    DEFAULT,
    WORTH,
    read_entries,
    read_numbers,
    read_prompts,
    read_worth,
    select_values,
)

# What a training took, by name, with the decimals that mean something.
COSTS = {"parameters": 0, "training_seconds": 1, "peak_memory_gib": 2}


@dataclass(frozen=True)
class Result:
    """A finished job's numbers by the metric's name.

    Attributes:
        values: at the LoRA's full weight.
        base: at weight 0.
        entries: at full weight, with the intervals that the report gives.
        prompts: how many were drawn; 0 if that is not known.
        costs: see `read_costs`.
        chosen: whether its worth is that of the step and weight that `choose` recommends, and not its report's.
    """

    outcome: Outcome
    values: dict[str, float]
    base: dict[str, float]
    entries: dict[str, dict[str, Any]]
    prompts: int
    costs: dict[str, float]
    chosen: bool

    @classmethod
    def read(cls, outcome: Outcome) -> "Result":
        folder = outcome.job.folder
        entries = {name: ends[0] for name, ends in read_entries(folder).items()}
        if worth := read_worth(folder):
            entries[WORTH] = worth.to_dict()
        values, base = read_numbers(folder)
        prompts, costs = read_prompts(folder), read_costs(folder)
        return cls(outcome, values, base, entries, prompts, costs, chosen=worth is not None)

    @property
    def point(self) -> tuple[float, float]:
        """Likeness and obedience."""
        likeness, obedience = select_values(self.values, DEFAULT)
        return likeness, obedience


def read_costs(folder: Path) -> dict[str, float]:
    """What a finished job's training took, those of COSTS that its files tell: trained numbers; seconds of all its
    steps, without validation, samples and saving; the most memory that it held (see `read_peak_memory`), in GiB.
    """
    facts, file = RunFacts.read(folder / "run" / "facts.json"), folder / "run" / "provenance.json"
    where = read_json(file) if file.is_file() else {}
    found: dict[str, float | None] = {
        "parameters": facts.parameters,
        # A run that was interrupted has steps of other processes, too: at the last one's pace.
        "training_seconds": facts.step / where["steps_per_second"] if where.get("steps_per_second") else None,
        "peak_memory_gib": where["peak_memory"] / 2**30 if where.get("peak_memory") else None,
    }
    return {name: round(value, COSTS[name]) for name, value in found.items() if value is not None}
