"""Draw the kilnling: the project's own mascot, a small clay kiln with a fire in its belly."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

NAME = "kilnling"
PARTS = ("chimney", "cap", "eyes", "mouth", "arms", "feet")
POSES = ("standing", "waving", "jumping", "running", "sitting", "sleeping")
MOODS = ("happy", "surprised", "angry", "winking")
FINE = 4  # drawn this many times larger, then scaled down: Pillow's own lines have no smooth edges

CLAY, CLAY_DARK, LINE = (205, 102, 62), (170, 78, 46), (70, 34, 26)
GLAZE, SOOT = (38, 148, 146), (62, 26, 24)
FLAME, GLOW = (255, 138, 30), (255, 222, 92)
WHITE, BLACK = (255, 252, 244), (24, 16, 18)

# pose -> hands (x, y) left and right, feet (x, y) left and right, in body heights from the middle
LIMBS: dict[str, tuple[tuple[float, float], ...]] = {
    "standing": ((-0.58, 0.22), (0.58, 0.22), (-0.20, 0.54), (0.20, 0.54)),
    "waving": ((-0.58, 0.22), (0.64, -0.34), (-0.20, 0.54), (0.20, 0.54)),
    "jumping": ((-0.62, -0.34), (0.62, -0.34), (-0.40, 0.52), (0.40, 0.52)),
    "running": ((-0.64, 0.00), (0.60, 0.28), (-0.48, 0.48), (0.40, 0.56)),
    "sitting": ((-0.48, 0.32), (0.48, 0.32), (-0.50, 0.44), (0.50, 0.44)),
    "sleeping": ((-0.44, 0.26), (0.44, 0.26), (-0.26, 0.48), (0.26, 0.48)),
}


@dataclass(frozen=True)
class Colours:
    """RGB of what is large in it."""

    body: tuple[int, int, int] = CLAY
    limbs: tuple[int, int, int] = CLAY_DARK
    cap: tuple[int, int, int] = GLAZE


class Pen:
    """Draws in body heights around a middle point, y downwards."""

    def __init__(self, image: Image.Image, middle: tuple[float, float], unit: float) -> None:
        self.draw, self.middle, self.unit = ImageDraw.Draw(image), middle, unit

    def at(self, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(self.middle[0] + x * self.unit, self.middle[1] + y * self.unit) for x, y in points]

    def oval(self, x: float, y: float, rx: float, ry: float, fill, edge: float = 0.0) -> None:
        if edge:
            self.oval(x, y, rx + edge, ry + edge, LINE)
        self.draw.ellipse([v for p in self.at([(x - rx, y - ry), (x + rx, y + ry)]) for v in p], fill=fill)

    def block(self, box: tuple[float, float, float, float], radius: float, fill, edge: float = 0.0) -> None:
        if edge:
            grown = (box[0] - edge, box[1] - edge, box[2] + edge, box[3] + edge)
            self.block(grown, radius + edge, LINE)
        corners = [v for p in self.at([box[:2], box[2:]]) for v in p]
        self.draw.rounded_rectangle(corners, radius=radius * self.unit, fill=fill)

    def stroke(self, points: Sequence[tuple[float, float]], width: float, fill) -> None:
        placed = self.at(points)
        self.draw.line(placed, fill=fill, width=max(1, round(width * self.unit)), joint="curve")
        for x, y in points:
            self.oval(x, y, width / 2, width / 2, fill)

    def shape(self, points: Sequence[tuple[float, float]], fill) -> None:
        self.draw.polygon(self.at(points), fill=fill)


def draw_mascot(
    pose: str, mood: str, height: int, tilt: float = 0.0, without: Collection[str] = (), clay: Colours | None = None
) -> Image.Image:
    """The mascot alone, RGBA on transparency, about `height` pixels tall.

    Args:
        tilt: degrees, counter-clockwise.
        without: of PARTS, those left out: what a classifier of the parts learns from.
        clay: other colours of body, limbs and cap, for the same end.
    """
    side = round(height * 1.8) * FINE
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    pen = Pen(image, (side / 2, side / 2), height * FINE * 0.8)
    colours = clay or Colours()
    _draw_limbs(pen, LIMBS[pose], without, colours)
    _draw_body(pen, pose != "sleeping", without, colours)
    if "eyes" not in without:
        _draw_eyes(pen, "sleepy" if pose == "sleeping" else mood)
    lean = {"running": -10.0, "sleeping": 16.0}.get(pose, 0.0) + tilt
    image = image.rotate(lean, Image.Resampling.BICUBIC)
    return image.resize((side // FINE, side // FINE), Image.Resampling.LANCZOS)


def _draw_limbs(pen: Pen, limbs: Sequence[tuple[float, float]], without: Collection[str], colours: Colours) -> None:
    if "arms" not in without:
        for (x, y), shoulder in zip(limbs[:2], ((-0.34, 0.06), (0.34, 0.06)), strict=True):
            pen.stroke((shoulder, (x, y)), 0.18, LINE)
            pen.stroke((shoulder, (x, y)), 0.12, colours.limbs)
    if "feet" not in without:
        for (x, y), hip in zip(limbs[2:], ((-0.20, 0.38), (0.20, 0.38)), strict=True):
            pen.stroke((hip, (x, y)), 0.18, LINE)
            pen.stroke((hip, (x, y)), 0.12, colours.limbs)
            pen.oval(x, y, 0.14, 0.085, colours.limbs, edge=0.03)


def _draw_body(pen: Pen, awake: bool, without: Collection[str], colours: Colours) -> None:
    if "chimney" not in without:
        pen.block((0.10, -0.66, 0.26, -0.40), 0.03, colours.limbs, edge=0.035)
        if awake:
            pen.oval(0.20, -0.76, 0.075, 0.075, WHITE, edge=0.025)
    pen.block((-0.40, -0.48, 0.40, 0.44), 0.26, colours.body, edge=0.04)
    if "cap" not in without:
        pen.block((-0.40, -0.48, 0.40, -0.26), 0.15, colours.cap)
        pen.block((-0.40, -0.36, 0.40, -0.27), 0.03, colours.cap)
        for x, drip in ((-0.31, 0.10), (-0.10, 0.02), (0.12, 0.05), (0.31, 0.09)):
            pen.block((x - 0.09, -0.30, x + 0.09, -0.26 + drip), 0.07, colours.cap)
    if "mouth" not in without:
        pen.block((-0.22, 0.17, 0.22, 0.42), 0.12, SOOT, edge=0.025)
        pen.shape([(0.15 * math.sin(a), 0.32 - 0.09 * math.cos(a)) for a in _list_angles(24)], FLAME)
        pen.shape(((-0.13, 0.29), (0.0, 0.15), (0.13, 0.29)), FLAME)
        pen.oval(0, 0.345, 0.075, 0.055, GLOW)


# At 64 pixels the eyes are what makes a face: large, white against the clay, with black pupils.
def _draw_eyes(pen: Pen, mood: str) -> None:
    for side in (-1, 1):
        x, y = 0.185 * side, -0.05
        if mood == "sleepy" or (mood == "winking" and side == 1):
            pen.stroke([(x + 0.12 * math.cos(a), y + 0.06 * math.sin(a)) for a in _list_angles(8, 0.5)], 0.055, LINE)
            continue
        pen.oval(x, y, 0.145, 0.16, WHITE, edge=0.025)
        pupil = 0.055 if mood == "surprised" else 0.08
        pen.oval(x, y + 0.02, pupil, pupil * 1.15, BLACK)
        if mood == "angry":
            pen.stroke(((x - 0.14 * side, y - 0.08), (x + 0.14 * side, y - 0.20)), 0.07, LINE)


def _list_angles(count: int, share: float = 1.0) -> list[float]:
    """`count` + 1 angles over a share of the full turn."""
    return [share * 2 * math.pi * i / count for i in range(count + 1)]
