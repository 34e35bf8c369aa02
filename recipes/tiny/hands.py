"""Other hands: the things as further sets draw them, for the judge's eyes alone.

Four sets are four drawings of each thing, and a judge of those takes the drawings for the things: a hammer that
leans the other way is none. What a LoRA draws is like none of them, so that the judge needs more hands to learn from.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.tiny.fetch import fetch_one
from recipes.tiny.labels import THINGS
from recipes.tiny.paths import work, write_arrays
from recipes.tiny.sprites import SIDE, cropped, spellings

# set -> npm package: one JSON of SVGs, by the emoji's names in Unicode's CLDR.
PACKAGES = {
    "emojitwo": "@iconify-json/emojione@1.2.3",
    "emojione": "@iconify-json/emojione-v1@1.2.3",
    "fluent-flat": "@iconify-json/fluent-emoji-flat@1.2.6",
    "blob": "@iconify-json/noto-v1@1.2.5",
    "streamline": "@iconify-json/streamline-emojis@1.2.4",
}
UNSEEN = "@iconify-json/fxemoji@1.2.2"  # nobody learns from it: how well does the judge read a hand that is new to it?
NAMING = "@iconify-json/noto@1.2.9"  # has a table of code points


def make_hands() -> Path:
    """Write the sprites of all sets that have them into one npz (keys "set/thing", uint8 (h, w, 4)); done once."""
    path = work("hands.npz")
    if not path.exists():
        drawn = {f"{hand}/{thing}": s for hand in PACKAGES for thing, s in _drawings(hand, PACKAGES[hand]).items()}
        write_arrays(path, **{key: np.asarray(sprite) for key, sprite in drawn.items()})
    return path


@cache
def load_hands() -> Mapping[str, list[Image.Image]]:
    """thing -> its RGBA sprites by other hands; one to five of each."""
    found: dict[str, list[Image.Image]] = {thing: [] for thing in THINGS}
    with np.load(make_hands()) as stored:
        for key in stored.files:
            found[key.split("/")[1]].append(Image.fromarray(stored[key], "RGBA"))
    return found


def unseen() -> dict[str, Image.Image]:
    """thing -> RGBA sprite by a hand that nobody has learned from; two things in three have one."""
    return _drawings("fxemoji", UNSEEN)


def _drawings(hand: str, package: str) -> dict[str, Image.Image]:
    """thing -> RGBA sprite of one set, of the things that it has."""
    icons, names = json.loads((_fetched(hand, package) / "icons.json").read_text("utf-8")), _names()
    found = {thing: svg_of(icons, names[thing]) for thing in THINGS}
    return {thing: cropped(_rendered(svg), SIDE) for thing, svg in found.items() if svg}


def _fetched(hand: str, package: str) -> Path:
    return fetch_one(package, work("sets", hand))


def _names() -> dict[str, set[str]]:
    """thing -> the names that CLDR has given its emoji over time."""
    table = json.loads((_fetched("naming", NAMING) / "chars.json").read_text("utf-8"))
    return {thing: {table[code] for code in spellings(THINGS[thing]) if code in table} for thing in THINGS}


def svg_of(icons: Mapping, names: set[str]) -> str | None:
    """The SVG that a set (Iconify's JSON) has under any of these names."""
    # Streamline numbers its variants, FxEmojis joins the words.
    for name in (spelled for way in (str, "{}-1".format, _joined) for spelled in map(way, sorted(names))):
        found = icons["icons"].get(icons.get("aliases", {}).get(name, {}).get("parent", name))
        if found:
            width, height = (found.get(edge) or icons.get(edge) or 16 for edge in ("width", "height"))
            return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{found["body"]}</svg>'
    return None


def _rendered(svg: str) -> Image.Image:
    import resvg_py

    png = resvg_py.svg_to_bytes(svg_string=svg, width=2 * SIDE, height=2 * SIDE)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def _joined(name: str) -> str:
    return name.replace("-", "")
