"""All pictures of a dataset at a glance."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from PIL import Image

from lorakiln.artefacts.pictures import read_picture

Item = TypeVar("Item")

MOST = 400  # pictures; of more, as many evenly spaced ones
CELL, GAP = 96, 4  # pixels
_PAPER = "#ffffff"


def make_contact_sheet(pictures: Sequence[Path]) -> Image.Image:
    """The pictures in rows, in their order, each shrunk into a square of CELL pixels.

    Raises:
        OSError, UserError: a picture cannot be read.
        ValueError: there is none.
    """
    if not pictures:
        raise ValueError("no pictures")
    shown = choose_evenly(pictures, MOST)
    # About as wide as high, rather wider.
    columns = min(len(shown), max(1, round((len(shown) * 1.5) ** 0.5)))
    return paste_cells([_shrink(read_picture(path)) for path in shown], columns)


def choose_evenly(items: Sequence[Item], most: int) -> Sequence[Item]:
    """All of them, or of more than `most` as many evenly spaced ones."""
    return [items[number * len(items) // most] for number in range(most)] if len(items) > most else items


def paste_cells(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """The pictures in rows of so many, in their order, each shrunk into a square of CELL pixels."""
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (CELL + GAP) + GAP, rows * (CELL + GAP) + GAP), _PAPER)
    for number, picture in enumerate(pictures):
        small = _shrink(picture)
        left, top = (GAP + place * (CELL + GAP) for place in (number % columns, number // columns))
        sheet.paste(small, (left + (CELL - small.width) // 2, top + (CELL - small.height) // 2))
    return sheet


def _shrink(picture: Image.Image) -> Image.Image:
    """The picture, at most CELL pixels wide and high; itself if it is so small already."""
    small = picture.copy()
    small.thumbnail((CELL, CELL))
    return small
