"""The sweep's scatter plot: likeness against obedience, the front and the best marked."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

from lorakiln.sweep.front import pareto_front
from lorakiln.sweep.titles import short_titles


def plot_front(results: Sequence, front: Sequence[int], best: int, path: Path) -> None:
    """Write a PNG.

    Args:
        results: `results.Result`s, in the sweep's order.
        front: which of them are on the Pareto front, of likeness and obedience or of what the sweep looks for.
    """
    figure, axes = pyplot.subplots(figsize=(8, 5), dpi=110)
    points = [result.point for result in results]
    base = results[0].base
    colours = ["#d97706" if i in front else "#57534e" for i in range(len(points))]
    line = sorted(points[i] for i in front)
    if sorted(front) == pareto_front(points):
        axes.plot(*zip(*line, strict=True), color="#d97706", linewidth=1, zorder=1, label="front")
    axes.scatter(*zip(*points, strict=True), color=colours, zorder=2, label="jobs")
    axes.scatter(*points[best], color="#d97706", s=90, zorder=3, label="best")
    axes.scatter(base["image_similarity"], base["clip_score"], marker="x", color="#1c1917", label="base model")
    titles = short_titles([result.outcome.job.title for result in results])
    for title, point in zip(titles, points, strict=True):
        axes.annotate(title, point, textcoords="offset points", xytext=(6, 5), fontsize=7)
    axes.set_xlabel("likeness: CLIP similarity to the training pictures")
    axes.set_ylabel("obedience: CLIP score of prompt and picture")
    axes.margins(0.3, 0.15)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    # No software version in the file: equal sweeps, equal bytes.
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)
