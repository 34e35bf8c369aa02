"""The base models of a sweep: jobs on another base, or with other pictures or prompts, have another to beat."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorakiln.schema.marks import Decides, read_setting, walk
from lorakiln.schema.model import ModelSettings
from lorakiln.sweep.results import Result
from lorakiln.sweep.titles import format_spans


@dataclass(frozen=True)
class BaseModelResult:
    """What a base model has without a LoRA.

    Attributes:
        title: "base model"; where there are several, with its name, or, of models of one name, its jobs' numbers.
        values: by the metric's name.
        places: of its jobs among the results.
    """

    title: str
    values: dict[str, float]
    places: list[int]


def collect_base_models(results: Sequence[Result]) -> list[BaseModelResult]:
    """The bases in the order of their first jobs. Those of one model are one if all their numbers are the same."""
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, result in enumerate(results):
        model = result.outcome.job.settings.get("model", {})
        groups.setdefault((model.get("path"), *_told_apart(model), *sorted(result.base.items())), []).append(place)
    names = [Path(str(path)).name for path, *_ in groups]
    titles = [
        "base model"
        if len(groups) == 1
        else f"base model {name}"
        if names.count(name) == 1
        else f"base model of {format_spans([results[place].outcome.job.number for place in places])}"
        for name, places in zip(names, groups.values(), strict=True)
    ]
    return [
        BaseModelResult(title, results[places[0]].base, places)
        for title, places in zip(titles, groups.values(), strict=True)
    ]


def _told_apart(model: dict[str, Any]) -> list[str]:
    """All settings that decide which base model it is."""
    deciding = [
        setting.path
        for setting in walk(ModelSettings)
        if setting.marks.decides is not None and setting.marks.decides & Decides.BASE
    ]
    return [repr(read_setting(model, path)) for path in deciding]
