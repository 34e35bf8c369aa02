"""The sweep's scatter plot: likeness against obedience, the front and the best marked."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot


def plot_front(results: Sequence, front: Sequence[int], best: int, path: Path) -> None:
    """Write a PNG.

    Args:
        results: `results.Result`s, in the sweep's order.
        front: which of them are on the Pareto front.
    """
    figure, axes = pyplot.subplots(figsize=(8, 5), dpi=110)
    points = [result.point for result in results]
    base = results[0].base
    line = sorted(points[i] for i in front)
    axes.plot(*zip(*line, strict=True), color="#d97706", linewidth=1, zorder=1, label="front")
    axes.scatter(*zip(*points, strict=True), color="#57534e", zorder=2, label="jobs")
    axes.scatter(*points[best], color="#d97706", s=90, zorder=3, label="best")
    axes.scatter(base["image_similarity"], base["clip_score"], marker="x", color="#1c1917", label="base model")
    for result, point in zip(results, points, strict=True):
        axes.annotate(result.outcome.job.title, point, textcoords="offset points", xytext=(6, 5), fontsize=7)
    axes.set_xlabel("likeness: CLIP similarity to the training pictures")
    axes.set_ylabel("obedience: CLIP score of prompt and picture")
    axes.margins(0.15)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.tight_layout()
    # No software version in the file: equal sweeps, equal bytes.
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)
