"""All pictures of a dataset at a glance."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from lorakiln.artefacts.pictures import read_picture

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
    shown = [pictures[number * len(pictures) // MOST] for number in range(MOST)] if len(pictures) > MOST else pictures
    # About as wide as high, rather wider.
    columns = min(len(shown), max(1, round((len(shown) * 1.5) ** 0.5)))
    rows = -(-len(shown) // columns)
    sheet = Image.new("RGB", (columns * (CELL + GAP) + GAP, rows * (CELL + GAP) + GAP), _PAPER)
    for number, path in enumerate(shown):
        small = read_picture(path)
        small.thumbnail((CELL, CELL))
        left, top = (GAP + place * (CELL + GAP) for place in (number % columns, number // columns))
        sheet.paste(small, (left + (CELL - small.width) // 2, top + (CELL - small.height) // 2))
    return sheet
