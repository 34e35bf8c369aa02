"""Figures: made-up creatures with faces and limbs in named poses, so that the base knows bodies as real bases do.

Each is drawn from random shapes, colours and features. None is the mascot of demo_character: no kiln, no glaze over
brick-red clay, no fire in a mouth. What the words of poses mean is all that the two share.
"""

from __future__ import annotations

import colorsys
import math
import random
from dataclasses import dataclass, replace

from PIL import Image

from recipes.tiny.captions import COLOURS
from recipes.tiny.mascot import Pen

FINE = 4  # drawn this many times larger, then scaled down
HEIGHT = 64  # pixels of a figure, about

Colour = tuple[int, int, int]

# pose -> hands (x, y) left and right, feet (x, y) left and right, from the body's edge, in body heights
_LIMBS: dict[str, tuple[tuple[float, float], ...]] = {
    "standing": ((-0.20, 0.20), (0.20, 0.20), (-0.02, 0.14), (0.02, 0.14)),
    "waving": ((-0.20, 0.20), (0.26, -0.34), (-0.02, 0.14), (0.02, 0.14)),
    "jumping": ((-0.24, -0.34), (0.24, -0.34), (-0.18, 0.10), (0.18, 0.10)),
    "running": ((-0.26, -0.02), (0.22, 0.26), (-0.26, 0.06), (0.20, 0.16)),
    "sitting": ((-0.10, 0.28), (0.10, 0.28), (-0.28, 0.02), (0.28, 0.02)),
    "sleeping": ((-0.06, 0.24), (0.06, 0.24), (-0.06, 0.06), (0.06, 0.06)),
}
_LEAN = {"running": -12.0, "sleeping": 18.0}


@dataclass(frozen=True)
class Figure:
    """A creature's features: what stays the same from pose to pose. Lengths in body heights."""

    shape: str
    width: float
    skin: Colour
    limbs: Colour
    line: Colour
    edge: float
    thick: float
    leg: float
    eyes: int
    eye: float
    eye_height: float
    sclera: bool
    mouth: str
    top: str
    belly: Colour | None
    marks: Colour | None


def invent_figure(rng: random.Random) -> Figure:
    """A creature of random features."""
    skin = _sample_colour(rng)
    return Figure(
        shape=rng.choice(("oval", "box", "round box", "pear", "drop", "dome")),
        width=rng.uniform(0.52, 0.84),
        skin=skin,
        limbs=_shade(skin, rng.uniform(0.6, 0.9)) if rng.random() < 0.7 else _sample_colour(rng),
        line=_shade(skin, 0.3) if rng.random() < 0.6 else (35, 28, 32),
        edge=rng.choice((0.0, 0.025, 0.035, 0.045)),
        thick=rng.uniform(0.09, 0.16),
        leg=rng.uniform(0.0, 0.16),
        eyes=rng.choice((1, 2, 2, 2, 2, 2, 3)),
        eye=rng.uniform(0.075, 0.14),
        eye_height=rng.uniform(-0.24, -0.02),
        sclera=rng.random() < 0.75,
        mouth=rng.choice(("smile", "smile", "round", "line", "frown", "open")),
        top=rng.choice(("none", "ears", "points", "antenna", "cone", "horns", "leaf", "cap", "tuft")),
        belly=_shade(skin, 1.35) if rng.random() < 0.35 else None,
        marks=_sample_colour(rng) if rng.random() < 0.3 else None,
    )


def draw_figure(figure: Figure, pose: str, rng: random.Random) -> Image.Image:
    """The figure in a pose, RGBA on transparency, HEIGHT x 1.8 pixels square; small random differences of limbs."""
    side = round(HEIGHT * 1.8) * FINE
    image = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    pen = Pen(image, (side / 2, side / 2), HEIGHT * FINE * 0.85)
    _draw_limbs(pen, figure, pose, rng)
    _draw_top(pen, figure)
    _draw_body(pen, figure)
    _draw_face(pen, figure, closed=pose == "sleeping")
    if rng.random() < 0.5 and pose in ("waving", "running"):
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.rotate(_LEAN.get(pose, 0.0) + rng.uniform(-5, 5), Image.Resampling.BICUBIC)
    return image.resize((side // FINE, side // FINE), Image.Resampling.LANCZOS)


def caption_figure(figure: Figure, pose: str, colour: str, rng: random.Random) -> str:
    """A caption: "a red character, waving, blue background", with parts left out now and then."""
    hue = f"{name_colour(figure.skin)} " if rng.random() < 0.5 else ""
    article = "an" if hue.startswith("o") else "a"
    parts = [f"{article} {hue}character"]
    if rng.random() < 0.9:
        parts.append(pose)
    if rng.random() < 0.9:
        parts.append(f"{colour} background")
    return ", ".join(parts)


def name_colour(colour: Colour) -> str:
    """The nearest of the colour words that skins have."""
    return min(COLOURS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLOURS[name], colour, strict=True)))


def _sample_colour(rng: random.Random) -> Colour:
    made = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.15, 0.95), rng.uniform(0.45, 1.0))
    return tuple(round(255 * part) for part in made)


def _shade(colour: Colour, share: float) -> Colour:
    return tuple(min(255, round(part * share)) for part in colour)


def _draw_limbs(pen: Pen, figure: Figure, pose: str, rng: random.Random) -> None:
    half, low = figure.width / 2, 0.40
    if pose == "sitting":
        low = 0.38
    hands, feet = _LIMBS[pose][:2], _LIMBS[pose][2:]
    for side, (x, y) in zip((-1, 1), hands, strict=True):
        shoulder = (side * half * 0.85, 0.02)
        hand = (side * half + x + rng.uniform(-0.03, 0.03), 0.02 + y + rng.uniform(-0.03, 0.03))
        _draw_limb(pen, figure, shoulder, hand)
    for side, (x, y) in zip((-1, 1), feet, strict=True):
        hip = (side * half * 0.5, low - 0.05)
        foot = (side * half * 0.5 + x, low + y * (0.6 + 4 * figure.leg) + rng.uniform(-0.015, 0.015))
        _draw_limb(pen, figure, hip, foot)
        pen.oval(
            foot[0] + 0.02 * side, foot[1] + 0.01, figure.thick * 0.9, figure.thick * 0.55, figure.limbs, figure.edge
        )


def _draw_limb(pen: Pen, figure: Figure, start: tuple[float, float], end: tuple[float, float]) -> None:
    if figure.edge:
        pen.stroke((start, end), figure.thick + 2 * figure.edge, figure.line)
    pen.stroke((start, end), figure.thick, figure.limbs)


def _draw_body(pen: Pen, figure: Figure) -> None:
    half, skin, edge = figure.width / 2, figure.skin, figure.edge
    if figure.shape == "oval":
        pen.oval(0, 0, half, 0.44, skin, edge)
    elif figure.shape in ("box", "round box"):
        pen.block((-half, -0.42, half, 0.42), 0.06 if figure.shape == "box" else 0.22, skin, edge)
    elif figure.shape == "dome":
        pen.block((-half, -0.44, half, 0.42), min(half, 0.4), skin, edge)
        pen.block((-half, 0.1, half, 0.42), 0.08, skin)
    else:
        top, bottom = (0.62, 1.0) if figure.shape == "pear" else (1.0, 0.7)
        for grown, fill in ((edge, figure.line), (0.0, skin)):
            pen.oval(0, -0.16, half * top + grown, 0.28 + grown, fill)
            pen.oval(0, 0.14, half * bottom + grown, 0.30 + grown, fill)
    if figure.belly:
        pen.oval(0, 0.18, half * 0.6, 0.19, figure.belly)
    if figure.marks:
        for x, y in ((-0.55, 0.2), (0.6, 0.28), (0.1, 0.33), (-0.2, 0.28)):
            pen.oval(x * half, y, 0.045, 0.045, figure.marks)


def _draw_top(pen: Pen, figure: Figure) -> None:
    half, dark = figure.width / 2, figure.limbs
    for side in (-1, 1):
        x = side * half * 0.6
        if figure.top == "ears":
            pen.oval(x, -0.44, 0.12, 0.12, dark, figure.edge)
        elif figure.top == "points":
            pen.shape(((x - 0.12, -0.34), (x + 0.06 * side, -0.62), (x + 0.12, -0.32)), dark)
        elif figure.top == "horns":
            pen.stroke(((x, -0.36), (x + 0.1 * side, -0.56)), 0.06, (240, 230, 200))
    if figure.top == "antenna":
        pen.stroke(((0, -0.4), (0.06, -0.62)), 0.04, figure.line)
        pen.oval(0.06, -0.64, 0.06, 0.06, dark)
    elif figure.top == "cone":
        pen.shape(((-0.2, -0.38), (0, -0.74), (0.2, -0.38)), dark)
    elif figure.top == "leaf":
        pen.oval(0.08, -0.52, 0.13, 0.06, (70, 160, 70), 0.02)
    elif figure.top == "cap":
        pen.block((-half * 0.7, -0.52, half * 0.7, -0.3), 0.1, dark, figure.edge)
    elif figure.top == "tuft":
        for x in (-0.1, 0.0, 0.1):
            pen.stroke(((x * 0.5, -0.38), (x, -0.56)), 0.05, dark)


def _draw_face(pen: Pen, figure: Figure, closed: bool) -> None:
    places = {1: (0.0,), 2: (-0.5, 0.5), 3: (-0.62, 0.0, 0.62)}[figure.eyes]
    size = figure.eye * (1.3 if figure.eyes == 1 else 0.8 if figure.eyes == 3 else 1.0)
    for place in places:
        x, y = place * min(figure.width * 0.5, 0.34), figure.eye_height
        if closed:
            pen.stroke([(x + size * math.cos(a), y + size * 0.4 * math.sin(a)) for a in _bend()], 0.04, figure.line)
            continue
        if figure.sclera:
            pen.oval(x, y, size, size * 1.1, (255, 255, 250), 0.02)
        pen.oval(x + 0.01, y + 0.01, size * 0.55, size * 0.65, (30, 24, 28))
    y = figure.eye_height + figure.eye + 0.09
    if closed or figure.mouth == "line":
        pen.stroke(((-0.06, y), (0.06, y)), 0.035, figure.line)
    elif figure.mouth == "round":
        pen.oval(0, y, 0.045, 0.05, figure.line)
    elif figure.mouth == "open":
        pen.oval(0, y + 0.01, 0.1, 0.06, (90, 30, 40))
    else:
        bend = 0.05 if figure.mouth == "smile" else -0.05
        pen.stroke([(0.09 * math.cos(a), y + bend * math.sin(a)) for a in _bend()], 0.035, figure.line)


def _bend() -> list[float]:
    """Nine angles over half a turn."""
    return [math.pi * i / 8 for i in range(9)]


def dye(figure: Figure, skin: Colour, limbs: Colour, rng: random.Random) -> Figure:
    """The same creature in given colours, each a little changed."""
    body, darker = (tuple(max(0, min(255, part + rng.randint(-20, 20))) for part in one) for one in (skin, limbs))
    return replace(figure, skin=body, limbs=darker)
