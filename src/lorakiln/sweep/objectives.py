"""What the jobs of a sweep are compared by: numbers of their reports, by name, and which way is better."""

from collections.abc import Sequence
from pathlib import Path

from lorakiln.artefacts.records import read_json
from lorakiln.console.errors import UserError

# The two that pull against each other: how alike the pictures are to the training pictures, how well they obey.
LIKENESS, OBEDIENCE = "likeness", "obedience"
DEFAULT = (LIKENESS, OBEDIENCE)
METRICS = {LIKENESS: "image_similarity", OBEDIENCE: "clip_score"}
VALIDATION_LOSS = "validation_loss"


def is_less_better(name: str) -> bool:
    return name == VALIDATION_LOSS


def read_numbers(folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """A finished job's numbers by name: at the largest weight, and at 0. The first hold the last validation loss, where
    there is one.
    """
    metrics = read_json(folder / "report" / "metrics.json")
    full, base = {}, {}
    for name, by_weight in metrics.items():
        weights = sorted(key for key in by_weight if key.startswith("w")) if isinstance(by_weight, dict) else []
        if weights and "mean" in by_weight[weights[-1]]:
            full[name] = by_weight[weights[-1]]["mean"]
            base[name] = by_weight[weights[0]]["mean"]
    adapters = read_json(folder / "run" / "facts.json")["adapters"]
    if adapters and adapters[-1]["validation_loss"] is not None:
        full[VALIDATION_LOSS] = adapters[-1]["validation_loss"]
    return full, base


def values_of(numbers: dict[str, float], names: Sequence[str]) -> tuple[float, ...]:
    """The objectives' values.

    Raises:
        UserError: the report has no such number.
    """
    absent = [name for name in names if METRICS.get(name, name) not in numbers]
    if absent:
        known = sorted({*METRICS, *numbers} - {*METRICS.values()})
        raise UserError(
            f"the reports have no {', '.join(absent)}", where="objectives", fix=f"choose among: {', '.join(known)}"
        )
    return tuple(numbers[METRICS.get(name, name)] for name in names)


def more_is_better(values: Sequence[float], names: Sequence[str]) -> tuple[float, ...]:
    """The values with the sign of what counts the better the less turned."""
    return tuple(-value if is_less_better(name) else value for value, name in zip(values, names, strict=True))
