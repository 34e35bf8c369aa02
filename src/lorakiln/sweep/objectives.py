"""What the jobs of a sweep are compared by: numbers of their reports, by name, and which way is better."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lorakiln.artefacts.json_files import read_json
from lorakiln.console.errors import UserError
from lorakiln.facts.choice import Measured, read_choice
from lorakiln.facts.run import RunFacts
from lorakiln.metrics import LIKENESS, OBEDIENCE, list_in_report_order, list_metrics
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.worth import WORTH

# The two that pull against each other: how alike the pictures are to the training pictures, how well they obey.
DEFAULT = (LIKENESS, OBEDIENCE)
# What the metrics of boards are called in metrics.json.
METRICS = {metric.board: metric.name for metric in list_in_report_order(list_metrics(None)) if metric.board}
VALIDATION_LOSS = "validation_loss"
# "w0.50", as metrics.json has it.
_WEIGHT = re.compile(r"w(-?[0-9.]+(?:e[+-]?[0-9]+)?)")


def list_possible_names(evaluate: dict[str, Any]) -> list[str]:
    """What a job with these settings of `evaluate` may be compared by."""
    metrics = [metric for metric in list_metrics(EvaluateSettings.model_validate(evaluate)) if not metric.board]
    metrics.sort(key=lambda metric: metric.is_answer)  # questions last, there may be many
    return [*DEFAULT, WORTH, VALIDATION_LOSS, *(metric.name for metric in metrics), *METRICS.values()]


def is_less_better(name: str) -> bool:
    less = [metric for metric in list_metrics(None) if metric.better == "less"]
    return name == VALIDATION_LOSS or any(name in (metric.name, metric.board) for metric in less)


def read_numbers(folder: Path) -> tuple[dict[str, float], dict[str, float]]:
    """A finished job's numbers by name: at the LoRA's full weight, and at 0, the base model.

    The first hold the validation loss of the adapter that was exported (else of the last), and the worth of what
    `choose` recommends, where it has drawn, in place of the report's. What is broken or copies is worth nothing.
    """
    entries = read_entries(folder)
    full = {name: ends[0]["mean"] for name, ends in entries.items()}
    adapters, exported = RunFacts.read(folder / "run" / "facts.json").adapters, folder / "lora" / "facts.json"
    step = read_json(exported).get("step") if exported.is_file() else None
    losses = [one.validation_loss for one in adapters if one.step == step] or [one.validation_loss for one in adapters]
    if losses and losses[-1] is not None:
        full[VALIDATION_LOSS] = losses[-1]
    if not entries.get(WORTH, ({}, {}))[0].get("usable", True):
        full[WORTH] = 0.0
    if worth := read_worth(folder):
        full[WORTH] = worth.mean
    return full, {name: ends[1]["mean"] for name, ends in entries.items()}


def read_worth(folder: Path) -> Measured | None:
    """What a finished job's recommended step and weight are worth; nothing where none can be recommended; None where
    `choose` has drawn nothing, or cannot tell.
    """
    choice = read_choice(folder / "choice")
    if not choice.candidates or not choice.can_tell:
        return None
    use = choice.recommended
    if use is None:
        return Measured(mean=0.0)
    return next(one.worth for one in choice.candidates if (one.step, one.weight) == (use.step, use.weight))


def read_entries(folder: Path) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """What a report says of each metric at full weight and at 0: mean, low, high and, at full weight, difference."""
    found = {}
    for name, by_weight in read_json(folder / "report" / "metrics.json").items():
        weights = _weights(by_weight)
        if weights and 0.0 in weights:
            found[name] = (weights[find_full_weight(weights)], weights[0.0])
    return found


def read_prompts(folder: Path) -> int:
    """How many prompts a report is of; 0 if it does not say."""
    return int(read_json(folder / "report" / "metrics.json").get("drawn", {}).get("prompts", 0))


def find_full_weight(weights: Iterable[float]) -> float:
    """The weight that a report compares with the base: the nearest to 1; of two as near, the smaller."""
    return min((weight for weight in weights if weight), key=lambda weight: (abs(weight - 1), weight))


def _weights(by_weight: Any) -> dict[float, dict[str, Any]]:
    """A metric's entries by weight ("w0.50" -> 0.5); empty for what is no metric."""
    if not isinstance(by_weight, dict):
        return {}
    found = {_WEIGHT.fullmatch(key): entry for key, entry in by_weight.items()}
    return {float(match[1]): entry for match, entry in found.items() if match}


def select_values(numbers: dict[str, float], names: Sequence[str]) -> tuple[float, ...]:
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


def orient_values(values: Sequence[float], names: Sequence[str]) -> tuple[float, ...]:
    """The values with the sign of what counts the better the less turned."""
    return tuple(-value if is_less_better(name) else value for value, name in zip(values, names, strict=True))
