"""Line charts as inline SVG that takes its colours and letters from the page, so that it suits light and dark."""

import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

_SIZE = (5.2, 3.0)  # inches; the page scales it
_MOST_POINTS = 240
# Matplotlib takes no names of CSS: each of the page's colours is drawn as one that nothing else has.
_COLOURS = {"--s1": "#010203", "--s2": "#010204", "--soft": "#010205", "--edge": "#010206"}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.edgecolor": _COLOURS["--soft"],
    "grid.color": _COLOURS["--edge"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), _COLOURS["--soft"]),
    "ytick.major.size": 0,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-4, 5),
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class Series:
    """One line.

    Attributes:
        points: (x, y), x rising.
        band: (x, low, high), shaded behind the line; may be empty.
        dots: mark every point.
    """

    name: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = ()
    dots: bool = False


def draw_chart(series: Sequence[Series], x_name: str, y_name: str, title: str) -> Markup:
    """An SVG element with axes, ticks and lines; the legend is the page's (`legend`). Empty for no points."""
    lines = [Series(s.name, thin_out(s.points), s.band, s.dots) for s in series if s.points]
    if not lines:
        return Markup("")
    # Equal charts, equal bytes: names inside are hashes, salted by what sets this one apart.
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": title}):
        figure = Figure(figsize=_SIZE)
        axes = figure.add_subplot(xlabel=_plain(x_name), ylabel=_plain(y_name))
        axes.grid(axis="y")
        for number, line in enumerate(lines, start=1):
            colour = _COLOURS[f"--s{number}"]
            if line.band:
                across, low, high = zip(*line.band, strict=True)
                axes.fill_between(across, low, high, color=colour, alpha=0.16, linewidth=0)
            marker = "o" if line.dots or len(line.points) == 1 else ""
            axes.plot(*zip(*line.points, strict=True), color=colour, marker=marker, markersize=5, gid=f"line s{number}")
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Markup(_adapt_to_page(drawn.getvalue(), escape(title), escape(f"{title}; {describe_lines(lines, x_name)}")))


def describe_lines(lines: Sequence[Series], x_name: str) -> str:
    """Where each begins and ends, for those who do not see it: "step 0 to 20: loss 0.6 to 0.5".

    Args:
        lines: with points, of which the first one's say where all begin and end.
    """
    (first, _), (last, _) = lines[0].points[0], lines[0].points[-1]
    ends = [f"{line.name} {line.points[0][1]:.3g} to {line.points[-1][1]:.3g}" for line in lines]
    return f"{x_name} {first:g} to {last:g}: {', '.join(ends)}"


def _plain(text: str) -> str:
    """Letters that matplotlib would take for a formula's stay what they are."""
    return text.replace("$", r"\$")


def _adapt_to_page(svg: str, title: str, description: str) -> str:
    """The element alone, in the page's colours; its names are told apart from other charts'."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    found = re.search(r'viewBox="[^"]*"', svg)
    assert found  # matplotlib always writes it
    box = found[0]
    label = f'<svg class="chart" {box} role="img" aria-label="{description}"><title>{title}</title>'
    svg = re.sub(r"^<svg[^>]*>", lambda _: label, svg)
    svg = svg.replace("xlink:href", "href").replace('id="line ', 'class="line ')
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # figure_1, axes_1, ...: in every chart
    svg = re.sub(r"font-family: [^;\"]*; ", "", svg)
    for name, colour in _COLOURS.items():
        svg = svg.replace(colour, f"var({name})")
    return re.sub(r"\s*\n\s*", "\n", svg).strip()


def thin_out(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most _MOST_POINTS points: means over neighbours, so that a long run stays a small picture."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    size = math.ceil(len(points) / _MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]
