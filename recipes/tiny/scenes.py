"""Scenes: a sprite over a coloured background, at random size and place, with its labels."""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image

from recipes.tiny.augmentation import draw_outlined, pad, recolour, stylize
from recipes.tiny.captions import COLOURS, DERIVED_STYLES, STYLES, THINGS
from recipes.tiny.sprites import load_extra_sprites, load_sprites

SIZES = ((64, 64), (80, 48), (48, 80))  # width, height; a batch has one of them
UNLINED = ("", *(style for style in STYLES if style != "outline"))
HELD_OUT = 900_001  # seeds from here on are never trained on


@dataclass(frozen=True)
class Scene:
    """One composed picture: RGB uint8 (h, w, 3) and what is in it; style "" if it has no name."""

    pixels: np.ndarray
    thing: str
    style: str
    colour: str


class Composer:
    """Draws scenes from a seed; the same seed gives the same scenes.

    Args:
        derived: share of scenes whose drawing is turned into one of DERIVED_STYLES.
        outlined: share of scenes whose drawing is turned into the outline style.
        extra: share of scenes whose drawing is of a further set, whose style has no name (""); with any of those,
            half of all drawings are recoloured.
    """

    def __init__(
        self,
        seed: int | str,
        styles: tuple[str, ...] = tuple(STYLES),
        derived: float = 0.0,
        outlined: float = 0.0,
        extra: float = 0.0,
    ) -> None:
        self.rng = random.Random(seed)
        self.styles, self.derived, self.outlined, self.extra = styles, derived, outlined, extra
        self.sprites = load_sprites()
        self.extra_sprites = load_extra_sprites() if extra else {}
        self.things = tuple(THINGS)
        self.colours = tuple(COLOURS)

    def sample(self, size: tuple[int, int] = (64, 64)) -> Scene:
        """One scene of the given (width, height) with random labels."""
        return self.compose(
            self.rng.choice(self.things), self.rng.choice(self.styles), self.rng.choice(self.colours), size
        )

    def compose(self, thing: str, style: str, colour: str, size: tuple[int, int]) -> Scene:
        """One scene with these labels, at a random size and place."""
        rng = self.rng
        ground = paint_background(COLOURS[colour], size, rng)
        sprite = self.sprites[style, thing]
        if self.extra and rng.random() < self.extra:
            sprite, style = rng.choice(self.extra_sprites[thing]), ""
        if self.extra and rng.random() < 0.5:
            sprite = recolour(sprite, rng)
        if self.derived and rng.random() < self.derived:
            style = rng.choice(DERIVED_STYLES)
            sprite = stylize(sprite, style)
        if style in UNLINED and self.outlined and rng.random() < self.outlined:
            sprite, style = draw_outlined(pad(sprite)), "outline"
        pixels = paste(sprite, ground, rng)
        return Scene(pixels, thing, style, colour)

    def sample_batch(self, count: int, size: tuple[int, int] | None = None) -> list[Scene]:
        """`count` scenes of one size (a random one if none is given)."""
        size = size or self.rng.choice(SIZES)
        return [self.sample(size) for _ in range(count)]


def paint_background(colour: tuple[int, int, int], size: tuple[int, int], rng: random.Random) -> np.ndarray:
    """A slightly jittered colour, float32 (h, w, 3): plain, with a soft gradient, or with a floor."""
    width, height = size
    base = np.array([c + rng.uniform(-8, 8) for c in colour], np.float32)
    shade = np.ones((height, 1, 1), np.float32)
    draw = rng.random()
    if draw < 0.22:
        ends = rng.uniform(0.88, 1.0), rng.uniform(1.0, 1.1)
        ends = ends if rng.random() < 0.5 else ends[::-1]
        shade = np.linspace(*ends, height, dtype=np.float32)[:, None, None]
    elif draw < 0.40:
        shade[int(height * rng.uniform(0.62, 0.85)) :] = rng.choice((0.85, 0.9, 1.12))
    return np.broadcast_to(base * shade, (height, width, 3)).clip(0, 255).astype(np.float32)


def paste(
    sprite: Image.Image, ground: np.ndarray, rng: random.Random, least: float = 0.60, most: float = 0.92
) -> np.ndarray:
    """Lay the sprite over the ground, its longest side `least` to `most` of the short side; uint8 (h, w, 3)."""
    height, width = ground.shape[:2]
    longest = min(width, height) * rng.uniform(least, most)
    scale = longest / max(sprite.size)
    w, h = (max(1, round(edge * scale)) for edge in sprite.size)
    # Pillow premultiplies RGBA while it resizes, so no dark fringe comes in from transparent pixels.
    small = np.asarray(sprite.resize((w, h), Image.Resampling.BICUBIC), np.float32)
    x, y = rng.randint(0, width - w), rng.randint(0, height - h)
    alpha = small[..., 3:] / 255.0
    under = ground[y : y + h, x : x + w]
    ground[y : y + h, x : x + w] = small[..., :3] * alpha + under * (1 - alpha)
    return (ground + 0.5).clip(0, 255).astype(np.uint8)
