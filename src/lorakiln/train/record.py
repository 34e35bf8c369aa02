"""The rows that a run writes: equal runs on equal machines write equal bytes."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lorakiln.artefacts.json_files import write_text

METRICS = ("step", "loss", "lr", "grad_norm")
FOUND = "effective_lr"
VALIDATION = ("step", "loss")


@dataclass
class Record:
    """Rows by name of column.

    Attributes:
        metrics: METRICS; loss and grad_norm are means over the steps since the row before, lr is the last step's. With
            an optimizer that finds its rate also FOUND, that times what it has found.
        validation: VALIDATION; step 0 is the base model's loss (with `init_from`, the given adapter's).
        tracked: what else the tracker was told beside the row of a step, by step.
    """

    metrics: list[dict[str, Any]] = field(default_factory=list)
    validation: list[dict[str, Any]] = field(default_factory=list)
    tracked: dict[int, dict[str, float]] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the metrics."""
        return (*METRICS, FOUND) if any(FOUND in row for row in self.metrics) else METRICS

    @property
    def losses(self) -> dict[int, float]:
        """The validation losses by step, without that of step 0."""
        return {row["step"]: row["loss"] for row in self.validation if row["step"]}

    def validation_loss(self, step: int) -> float | None:
        """The validation loss after so many steps, or None if it was not measured there."""
        return next((row["loss"] for row in self.validation if row["step"] == step), None)


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write numbers as CSV: integers as they are, the others with the nine digits that tell any two float32 apart."""
    lines = [",".join(columns), *(",".join(_number(row[name]) for name in columns) for row in rows)]
    write_text(path, "\n".join(lines) + "\n")


def _number(value: float | int) -> str:
    return str(value) if isinstance(value, int) else format(value, ".9g")


def read_record(run: Path) -> Record:
    """The rows of a finished run."""
    return Record(_rows(run / "metrics.csv"), _rows(run / "validation.csv"))


def _rows(path: Path) -> list[dict[str, float]]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {name: int(value) if name == "step" else float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]
