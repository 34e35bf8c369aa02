"""What the jobs of a sweep found."""

from dataclasses import dataclass
from typing import Any

from lorakiln.sweep.jobs import Outcome
from lorakiln.sweep.objectives import DEFAULT, read_entries, read_numbers, read_prompts, select_values


@dataclass(frozen=True)
class Result:
    """A finished job's numbers by the metric's name.

    Attributes:
        values: at the LoRA's full weight.
        base: at weight 0.
        entries: at full weight, with the intervals that the report gives.
        prompts: how many were drawn; 0 if that is not known.
    """

    outcome: Outcome
    values: dict[str, float]
    base: dict[str, float]
    entries: dict[str, dict[str, Any]]
    prompts: int

    @classmethod
    def read(cls, outcome: Outcome) -> "Result":
        folder = outcome.job.folder
        entries = {name: ends[0] for name, ends in read_entries(folder).items()}
        return cls(outcome, *read_numbers(folder), entries, read_prompts(folder))

    @property
    def point(self) -> tuple[float, float]:
        """Likeness and obedience."""
        likeness, obedience = select_values(self.values, DEFAULT)
        return likeness, obedience
