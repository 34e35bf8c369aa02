"""compare.html: one file that holds the numbers and the pictures, readable without scripts or network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorakiln.artefacts.json_files import write_text
from lorakiln.compare.drawing import Plan
from lorakiln.compare.measuring import Measured, Pair
from lorakiln.compare.table import HEADINGS, list_cells
from lorakiln.compare.verdict import Verdict
from lorakiln.evaluate.nearest_pairs import describe_bar, make_cards
from lorakiln.evaluate.page_pictures import Picture, make_data_uri
from lorakiln.evaluate.pages import load_template
from lorakiln.evaluate.score_summaries import Summary
from lorakiln.evaluate.summary_text import format_difference, format_mean
from lorakiln.metrics import Metric, Shot
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.worth.intervals import Estimate

SEEDS = 4  # at most, of which the page shows the pictures


def write_page(
    plan: Plan, measured: Measured, verdict: Verdict, settings: EvaluateSettings, samples: Path, path: Path
) -> None:
    """Write the page; equal inputs give equal bytes.

    Args:
        samples: the plan's pictures.
    """
    entrants = [one.candidate for one in measured.assessed]
    page = load_template("compare.html", "lorakiln.compare").render(
        verdict=verdict,
        entrants=entrants,
        best=None if verdict.best is None else entrants[verdict.best],
        headings=HEADINGS[1:-1],
        base=list_cells(measured.base),
        rows=[list_cells(one) for one in measured.assessed],
        states=[one.state for one in measured.assessed],
        pairs=_make_matrix(measured.pairs, len(entrants)),
        metrics=[
            {
                "title": metric.title,
                "meaning": metric.meaning,
                "base": _format_base(metric, measured.summaries),
                "cells": [
                    _make_cell(metric, summary, one.weight)
                    for summary, one in zip(measured.summaries, entrants, strict=True)
                ],
            }
            for metric in measured.metrics
            if any(metric.name in summary.values for summary in measured.summaries)
        ],
        nearest=[make_cards(pairs, samples) for pairs in measured.nearest],
        bar=describe_bar(measured.nearest[0]),
        prompts=len(plan.prompts),
        seeds=len(plan.seeds),
        size=plan.size,
        settings=settings,
        grids=[{"seed": seed, "rows": list(_make_rows(plan, seed, samples))} for seed in plan.seeds[:SEEDS]],
    )
    write_text(path, page)


def _make_matrix(pairs: Sequence[Pair], count: int) -> list[list[dict[str, str] | None]]:
    """Row minus column, for every two."""
    cells: list[list[dict[str, str] | None]] = [[None] * count for _ in range(count)]
    for pair in pairs:
        difference, words = pair.difference, "cannot be told apart"
        cells[pair.first][pair.second] = {"span": _format_gap(difference), "words": words, "tone": "unknown"}
        if pair.better is not None:
            tone = "good" if pair.better == pair.first else "bad"
            words = "worth more" if pair.better == pair.first else "worth less"
            cells[pair.first][pair.second] = {"span": _format_gap(difference), "words": words, "tone": tone}
    return cells


def _format_gap(difference: Estimate) -> str:
    if difference.low is None or difference.high is None:
        return f"{difference.mean:+.2f}"
    return f"{difference.mean:+.2f} ({difference.low:+.2f} to {difference.high:+.2f})"


def _format_base(metric: Metric, summaries: Sequence[Summary]) -> str:
    found = next((one.values[metric.name] for one in summaries if metric.name in one.values), {})
    return format_mean(metric, found[0.0]) if 0.0 in found else ""


def _make_cell(metric: Metric, summary: Summary, weight: float) -> dict[str, str]:
    values = summary.values.get(metric.name, {})
    difference = summary.differences.get(metric.name, {}).get(weight)
    return {
        "mean": format_mean(metric, values[weight]) if weight in values else "",
        "difference": format_difference(metric, difference) if difference else "",
    }


def _make_rows(plan: Plan, seed: int, samples: Path) -> list[dict[str, Any]]:
    """A row a prompt: the base's picture, and each file's."""
    drawn = [{one.prompt.index: one for one in shots if _is_shown(one, seed)} for shots in (plan.base, *plan.of)]
    return [
        {
            "label": prompt.text or "(empty prompt)",
            "cells": [_make_picture(shots[prompt.index], samples) for shots in drawn],
        }
        for prompt in plan.prompts
    ]


def _is_shown(shot: Shot, seed: int) -> bool:
    return shot.with_trigger and shot.seed == seed


def _make_picture(shot: Shot, samples: Path) -> Picture:
    return make_data_uri(samples / shot.file_name, f"{shot.adapter or 'base'}: {shot.text}")
