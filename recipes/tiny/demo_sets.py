"""Render the two demo sets of the project: a style that the base has never seen, and a mascot."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image

from recipes.tiny.captions import COLOURS, THINGS, caption
from recipes.tiny.mascot import MOODS, NAME, POSES, draw_mascot
from recipes.tiny.scenes import paint_background, paste
from recipes.tiny.sprites import crop, render_openmoji
from recipes.tiny.workspace import DATA

# The LoRA of demo_style sees these; the evaluation asks for the other things.
_STYLE_THINGS = (
    "fox frog elephant bee fish apple banana carrot mushroom burger donut cake cactus tree star cloud house car "
    "rocket balloon hat guitar key book"
)
STYLE_THINGS = _STYLE_THINGS.split()
STYLE_SIZES = ((96, 96), (160, 96), (96, 160), (128, 192), (64, 64), (120, 90), (192, 128), (80, 48))
TURNED, CUT_OUT, WEBP = "elephant", "key", "house"
# Captions written by hand: two things that the captioner takes for others, and one for the example's sake.
EDITED = ("donut", "elephant", "rocket")

CHARACTER_COLOURS = ("blue", "green", "yellow", "pink", "gray", "purple")  # four colours stay new to it
CHARACTER_SIZES = ((96, 96), (64, 64), (96, 120), (128, 128), (120, 96))
CHARACTER_COUNT = 20

STYLE_CREDITS = """# Credits

The drawings are OpenMoji (https://openmoji.org), the open-source emoji and icon project, version 17.0.0,
licence CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/). They were placed on coloured backgrounds
by `recipes/tiny/demo_sets.py`; these pictures are shared under the same licence.
"""
CHARACTER_CREDITS = """# Credits

The kilnling is drawn by this project's own code (`recipes/tiny/mascot.py`), with no other source, and is under
the project's licence.
"""


def write_style_set(folder: Path) -> None:
    """24 OpenMoji drawings in eight sizes: one JPEG with an EXIF turn, one PNG with alpha, one WebP."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, colours = random.Random(24), list(COLOURS)
    for index, thing in enumerate(STYLE_THINGS):
        sprite = crop(render_openmoji(THINGS[thing], 288), 256)
        colour = colours[(index * 3 + index // 10) % len(colours)]
        size = STYLE_SIZES[index % len(STYLE_SIZES)]
        if thing == CUT_OUT:
            sprite.resize([edge // 2 for edge in sprite.size], Image.Resampling.LANCZOS).save(folder / f"{thing}.png")
            continue
        image = Image.fromarray(paste(sprite, paint_background(COLOURS[colour], size, rng), rng))
        _save(image, thing, folder)
        if thing in EDITED:
            (folder / f"{thing}.txt").write_text(caption(thing, "outline", colour) + "\n", "utf-8")
    (folder / "CREDITS.md").write_text(STYLE_CREDITS, "utf-8")


def _save(image: Image.Image, name: str, folder: Path) -> None:
    if name == TURNED:
        exif = Image.Exif()
        exif[0x0112] = 6  # shown after a quarter turn clockwise, so it is stored turned the other way
        image.transpose(Image.Transpose.ROTATE_90).save(folder / f"{name}.jpg", quality=95, subsampling=0, exif=exif)
    elif name == WEBP:
        image.save(folder / f"{name}.webp", lossless=True)
    else:
        image.save(folder / f"{name}.png", optimize=True)


def write_character_set(folder: Path) -> None:
    """20 pictures of the mascot, each with its caption beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(20)
    for index in range(CHARACTER_COUNT):
        pose, mood = POSES[index % len(POSES)], MOODS[(index * 2 + index // 5) % len(MOODS)]
        colour = CHARACTER_COLOURS[(index + index // 6) % len(CHARACTER_COLOURS)]
        size = CHARACTER_SIZES[index % len(CHARACTER_SIZES)]
        tall = round(min(size) * 1.2)
        sprite = crop(draw_mascot(pose, mood, tall, tilt=rng.uniform(-6, 6)), tall)
        # Large in its picture: a face that fills a few pixels is lost in the VAE.
        image = Image.fromarray(paste(sprite, paint_background(COLOURS[colour], size, rng), rng, least=0.84, most=0.98))
        name = f"{index + 1:02}_{pose}"
        image.save(folder / f"{name}.png", optimize=True)
        (folder / f"{name}.txt").write_text(f"a {NAME}, {pose}, {colour} background\n", "utf-8")
    (folder / "CREDITS.md").write_text(CHARACTER_CREDITS, "utf-8")


def write_sets(data: Path = DATA) -> None:
    """Write both sets."""
    write_style_set(data / "demo_style")
    write_character_set(data / "demo_character")


if __name__ == "__main__":
    write_sets()
