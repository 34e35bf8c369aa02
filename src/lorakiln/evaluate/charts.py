"""The report's charts: scores over the LoRA's weight, and how training went."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lorakiln.evaluate.line_chart import Series, draw_chart
from lorakiln.evaluate.score_summaries import Summary
from lorakiln.evaluate.shots import ShotPlan
from lorakiln.metrics import Metric


def draw_score_charts(metrics: Sequence[Metric], summary: Summary, plan: ShotPlan) -> list[dict[str, Any]]:
    """One chart a metric over the weights, with its 95% band."""
    charts = []
    for metric in metrics:
        by_weight = summary.values.get(metric.name, {})
        if len(by_weight) < 2:
            continue
        scale = 100 if metric.fraction else 1
        points = [(w, scale * by_weight[w].mean) for w in plan.grid_weights if w in by_weight]
        band = [
            (w, scale * e.low, scale * e.high)
            for w, e in sorted(by_weight.items())
            if e.low is not None and e.high is not None
        ]
        name = "%" if metric.fraction else "score"
        svg = draw_chart([Series(metric.title, points, band, dots=True)], "LoRA weight", name, metric.title)
        charts.append({"title": metric.title, "svg": svg})
    return charts


def draw_training_charts(run: Path) -> list[dict[str, Any]]:
    """Loss (as read, and smoothed), validation loss and learning rate, as far as they were recorded."""
    loss = read_columns(run / "metrics.csv", "step", "loss")
    rate = read_columns(run / "metrics.csv", "step", "lr")
    if found := read_columns(run / "metrics.csv", "step", "effective_lr"):
        rate = found  # by the optimizer; on one scale with its factor it would lie on the axis
    held_out = read_columns(run / "validation.csv", "step", "loss")
    charts = [
        (
            "Training loss",
            "loss",
            [Series("as read", loss), Series("smoothed", smooth(loss))],
            ["as read", "smoothed"],
        ),
        ("Validation loss", "loss", [Series("held-out pictures", held_out, dots=True)], []),
        ("Learning rate", "rate", [Series("learning rate", rate)], []),
    ]
    made = ((title, draw_chart(series, "step", name, title), legend) for title, name, series, legend in charts)
    return [{"title": title, "svg": svg, "legend": legend} for title, svg, legend in made if svg != Markup("")]


def smooth(points: Sequence[tuple[float, float]], share: float = 0.1) -> list[tuple[float, float]]:
    """The mean over a window of `share` of the points, centred, shorter at the ends."""
    half = max(1, round(len(points) * share / 2))
    result = []
    for index, (x, _) in enumerate(points):
        # The same reach on both sides, else the ends lean.
        reach = min(half, index, len(points) - 1 - index)
        window = points[index - reach : index + reach + 1]
        result.append((x, sum(y for _, y in window) / len(window)))
    return result


def read_columns(path: Path, x_name: str, y_name: str) -> list[tuple[float, float]]:
    """The rows of a CSV file in which both columns hold numbers; none if the file or a column is not there."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [(float(row[x_name]), float(row[y_name])) for row in rows if row.get(x_name) and row.get(y_name)]
