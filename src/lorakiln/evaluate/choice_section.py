"""The report's part about the saved steps: what `choose` said, its grid of steps x weights, and trends by step."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.console.counts import format_count
from lorakiln.evaluate.line_chart import Series, draw_chart
from lorakiln.evaluate.page_pictures import make_data_uri
from lorakiln.facts.choice import Choice, MeasuredCandidate
from lorakiln.metrics import format_weight

Measure = Callable[[MeasuredCandidate], float]
TRENDS: Sequence[tuple[str, Mapping[str, Measure]]] = (
    (
        "Learned and followed",
        {
            "of the training pictures learned": lambda one: one.learned,
            "of the prompt followed": lambda one: one.followed,
        },
    ),
    ("Details and seeds", {"of the details learned": lambda one: one.detail, "seeds agree": lambda one: one.agreement}),
    ("Copies and damage", {"pictures that are copies": lambda one: one.copies, "damaged": lambda one: 1 - one.whole}),
)
SELDOM = ("Copies and damage",)


def make_choice_section(choice: Choice, folder: Path) -> dict[str, Any] | None:
    """For the page; None where nothing was to choose.

    Args:
        folder: of the choice, with its samples.
    """
    if not choice.candidates:
        return None
    weights = sorted({one.weight for one in choice.candidates})
    steps = sorted({one.step for one in choice.candidates})
    by_place = {(one.step, one.weight): one for one in choice.candidates}
    files, prompt = _find_pictures(folder)
    use = choice.recommended
    rows = [
        {
            "step": step,
            "cells": [
                {
                    "picture": make_data_uri(files[step, weight], _describe(step, weight, prompt)),
                    "worth": f"{one.worth.mean:.2f}",
                    "span": _format_span(one),
                    "factors": f"learned {one.learned:.0%}, in detail {one.detail:.0%}, followed {one.followed:.0%}, "
                    f"seeds agree {one.agreement:.0%}",
                    "varied": _describe_diversity(one),
                    "bleed": "" if one.bleed is None else f"bleeds {one.bleed.mean:.0%}",
                    "drawn": f"{format_count(one.pictures, 'picture')}",
                    "state": one.state,
                    "used": use is not None and (use.step, use.weight) == (step, weight),
                }
                for weight in weights
                if (one := by_place[step, weight])
            ],
        }
        for step in steps
    ]
    at = use.weight if use else weights[-1]
    return {
        "choice": choice,
        "prompt": prompt,
        "weights": [format_weight(weight) for weight in weights],
        "rows": rows,
        "charts": _draw_trends([by_place[step, at] for step in steps], at),
        "picture": make_data_uri(folder / use.picture, _describe(use.step, use.weight, prompt)) if use else None,
    }


def _describe_diversity(one: MeasuredCandidate) -> str:
    """How its seeds vary, with the 95% interval; "" where it is not known."""
    found = one.diversity
    if found is None:
        return ""
    span = "" if found.low is None or found.high is None else f" ({found.low:.0%} to {found.high:.0%})"
    return f"seeds vary {found.mean:.0%}{span} as much as the base's"


def _describe(step: int, weight: float, prompt: str) -> str:
    return f"step {step} at {format_weight(weight)}: {prompt}"


def _format_span(one: MeasuredCandidate) -> str:
    worth = one.worth
    return "" if worth.low is None or worth.high is None else f"{worth.low:.2f} to {worth.high:.2f}"


def _find_pictures(folder: Path) -> tuple[dict[tuple[int, float], Path], str]:
    """Of each candidate the picture of one prompt and seed, which all have; and the prompt."""
    files: dict[tuple[int, float], Path] = {}
    shown: tuple[str, int] | None = None
    for row in read_jsonl(folder / "samples" / "metadata.jsonl"):
        above, _, _ = row["file_name"].partition("/")
        if not row["weight"] or not row["with_trigger"]:
            continue
        shown = shown or (row["prompt"], row["seed"])
        if (row["prompt"], row["seed"]) == shown:
            files[int(above.removeprefix("step")), row["weight"]] = folder / "samples" / row["file_name"]
    return files, shown[0] if shown else ""


def _draw_trends(candidates: list[MeasuredCandidate], weight: float) -> list[dict[str, Any]]:
    """Every measure over the saved steps, at one weight: title, legend and SVG of each chart. Copies and damage are
    drawn where there are any.
    """
    worth = [(float(one.step), one.worth.mean) for one in candidates]
    ends = [(one.step, one.worth.low, one.worth.high) for one in candidates]
    band = [(float(step), low, high) for step, low, high in ends if low is not None and high is not None]
    charts = [("Worth", "0 to 1", [Series("what it is worth", worth, band, dots=True)])]
    for title, names in TRENDS:
        lines = [
            Series(name, [(float(one.step), 100 * measure(one)) for one in candidates], dots=True)
            for name, measure in names.items()
        ]
        if title not in SELDOM or any(value for line in lines for _, value in line.points):
            charts.append((title, "%", lines))
    return [
        {
            "title": f"{title} by step",
            "legend": [one.name for one in lines] if len(lines) > 1 else [],  # the title says it
            "svg": draw_chart(lines, "step", unit, f"{title} by step, at weight {format_weight(weight)}"),
        }
        for title, unit, lines in charts
    ]
