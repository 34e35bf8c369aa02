"""Line charts as inline SVG that takes its colours from the page, so that it suits light and dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

_WIDTH, _HEIGHT = 520, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 14, 14, 52
_MOST_POINTS = 240


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


def chart(series: Sequence[Series], x_name: str, y_name: str, title: str) -> Markup:
    """An SVG element with axes, ticks and lines; the legend is the page's (`legend`). Empty for no points."""
    lines = [Series(s.name, thinned(s.points), s.band, s.dots) for s in series if s.points]
    if not lines:
        return Markup("")
    xs = [x for s in lines for x, _ in s.points]
    ys = [y for s in lines for _, y in s.points] + [y for s in lines for _, *ends in s.band for y in ends]
    x_axis, y_axis = (
        _Axis(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT),
        _Axis(min(ys), max(ys), _HEIGHT - _BOTTOM, _TOP),
    )
    body = [*_grid(x_axis, y_axis, x_name, y_name)]
    for number, line in enumerate(lines, start=1):
        body += _drawn(line, number, x_axis, y_axis)
    return Markup(
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(body)}</svg>"
    )


def _grid(x_axis: "_Axis", y_axis: "_Axis", x_name: str, y_name: str) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for value in y_axis.ticks(5):
        y = y_axis.place(value)
        parts.append(f'<line class="rule" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 5:.1f}" text-anchor="end">{_short(value)}</text>')
    for value in x_axis.ticks(6):
        x = x_axis.place(value)
        parts.append(f'<text x="{x}" y="{bottom + 20}" text-anchor="middle">{_short(value)}</text>')
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{right}" y1="{bottom}" y2="{bottom}"/>')
    parts.append(f'<text x="{(_LEFT + right) / 2}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_name)}</text>')
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<text x="16" y="{middle}" text-anchor="middle" transform="rotate(-90 16 {middle})">{escape(y_name)}</text>'
    )
    return parts


def _drawn(line: Series, number: int, x_axis: "_Axis", y_axis: "_Axis") -> list[str]:
    parts = []
    if line.band:
        upper = [f"{x_axis.place(x)},{y_axis.place(high)}" for x, _, high in line.band]
        lower = [f"{x_axis.place(x)},{y_axis.place(low)}" for x, low, _ in reversed(line.band)]
        parts.append(f'<polygon class="band s{number}" points="{" ".join(upper + lower)}"/>')
    points = [f"{x_axis.place(x)},{y_axis.place(y)}" for x, y in line.points]
    parts.append(f'<polyline class="line s{number}" points="{" ".join(points)}"/>')
    if line.dots or len(points) == 1:
        for point in points:
            x, y = point.split(",")
            parts.append(f'<circle class="dot s{number}" cx="{x}" cy="{y}" r="3.5"/>')
    return parts


class _Axis:
    """From values to places on the picture; a flat range is widened."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        if high - low < 1e-12:
            pad = abs(low) * 0.1 or 1.0
            low, high = low - pad, high + pad
        self.low, self.high, self.start, self.end = low, high, start, end

    def place(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self, about: int) -> list[float]:
        """Round values inside the range, 1, 2 or 5 times a power of ten apart."""
        raw = (self.high - self.low) / about
        power = 10.0 ** math.floor(math.log10(raw))
        step = power * next(m for m in (1, 2, 5, 10) if raw <= m * power * 1.0000001)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(n * step, 12) for n in range(first, last + 1)]


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most _MOST_POINTS points: means over neighbours, so that a long run stays a small picture."""
    if len(points) <= _MOST_POINTS:
        return list(points)
    size = math.ceil(len(points) / _MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _short(value: float) -> str:
    if value == int(value) and abs(value) >= 10000:
        return f"{value / 1000:g}k"
    return f"{value:g}"
