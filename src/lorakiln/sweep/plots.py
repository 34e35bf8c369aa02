"""The sweep's scatter plot: likeness against obedience, the front, the best and the base models marked."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes

from lorakiln.sweep.base_models import collect_base_models
from lorakiln.sweep.objectives import DEFAULT, METRICS
from lorakiln.sweep.pareto import find_pareto_front
from lorakiln.sweep.results import Result
from lorakiln.sweep.titles import format_spans, make_short_titles

LISTED = 30  # jobs that are named below the plot: of more, those on the front
LETTERS = 118  # of a line there
NEAR = 14  # pixels: points closer than this share a label
WIDTH, HEIGHT, LINE = 8.0, 5.0, 0.17  # inches
FRONT, JOB, INK = "#d97706", "#57534e", "#1c1917"


def plot_front(results: Sequence[Result], front: Sequence[int], best: int, path: Path) -> None:
    """Write a PNG. The points bear the jobs' numbers, whose settings are listed below.

    Args:
        results: in the sweep's order.
        front: which of them are on the Pareto front, of likeness and obedience or of what the sweep looks for.
    """
    lines = format_legend(results, front)
    height = HEIGHT + LINE * (len(lines) + 1)
    figure = pyplot.figure(figsize=(WIDTH, height), dpi=110)
    top = 1 - 0.15 / height
    axes = figure.add_axes((0.1, (height - HEIGHT + 0.6) / height, 0.87, top - (height - HEIGHT + 0.6) / height))
    points = [result.point for result in results]
    line = sorted(points[i] for i in front)
    if sorted(front) == find_pareto_front(points):
        axes.plot(*zip(*line, strict=True), color=FRONT, linewidth=1, zorder=1, label="front")
    colours = [FRONT if i in front else JOB for i in range(len(points))]
    across, up = zip(*points, strict=True)
    axes.scatter(across, up, color=colours, zorder=2, label="jobs")
    axes.scatter(across[best], up[best], color=FRONT, s=90, zorder=3, label="best")
    bases = collect_base_models(results)
    for base, marker in zip(bases, "xX+P1234" * len(bases), strict=False):
        place = tuple(base.values[METRICS[name]] for name in DEFAULT)
        axes.scatter(*place, marker=marker, color=INK, label=base.title)
    axes.set_xlabel("likeness: CLIP similarity to the training pictures")
    axes.set_ylabel("obedience: CLIP score of prompt and picture")
    axes.margins(0.15)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    _label(axes, results, front)
    for number, text in enumerate(lines):
        y = (height - HEIGHT - LINE * (number + 1)) / height
        # Values may hold what matplotlib would take for formulas.
        figure.text(0.03, y, text, fontsize=7.5, color=INK, parse_math=False)
    # No software version in the file: equal sweeps, equal bytes.
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)


def format_legend(results: Sequence[Result], front: Sequence[int]) -> list[str]:
    """ "3  rank=4 scheduler=cosine", a line each or more where it is long; of many jobs those on the front."""
    titles = make_short_titles([result.outcome.job.own for result in results])
    listed = range(len(results)) if len(results) <= LISTED else sorted(front)[:LISTED]
    lines = []
    for i in listed:
        text = f"{results[i].outcome.job.number}  {titles[i]}"
        lines += wrap(text, LETTERS, subsequent_indent="      ", break_on_hyphens=False)
    return lines + (["the others: see the table"] if len(listed) < len(results) else [])


def _label(axes: Axes, results: Sequence[Result], front: Sequence[int]) -> None:
    """Write the numbers beside their points; those that lie close together share a label."""
    labelled = range(len(results)) if len(results) <= LISTED else front
    groups: list[tuple[tuple[float, float], list[int]]] = []
    for i in labelled:
        x, y = axes.transData.transform(results[i].point)
        for (other_x, other_y), members in groups:
            if abs(x - other_x) < NEAR and abs(y - other_y) < NEAR:
                members.append(i)
                break
        else:
            groups.append(((x, y), [i]))
    for _, members in groups:
        numbers = format_spans([results[i].outcome.job.number for i in members])
        point = results[members[0]].point
        axes.annotate(numbers, point, textcoords="offset points", xytext=(6, 5), fontsize=8)
