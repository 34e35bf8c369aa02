"""All variants of some pictures at a glance, as the model is shown them."""

from collections.abc import Sequence

import torch
from PIL import Image

from lorakiln.encode.content_keys import Row
from lorakiln.encode.latents import view_pictures
from lorakiln.tracking.contact_sheet import choose_evenly, paste_cells

MOST_PICTURES, MOST_VARIANTS = 24, 16  # rows and columns: 2,400 x 1,600 pixels


def make_variant_sheet(rows: Sequence[Row], flip: bool) -> Image.Image:
    """A line for each picture, of some evenly spaced ones where there are many, with its variants in their order, the
    first where there are many.

    Raises:
        UserError: a picture cannot be read.
    """
    cells, columns = [], 0
    for row in choose_evenly(rows, MOST_PICTURES):
        opened = row.viewed.open((row.width, row.height))
        variants = list(view_pictures([opened], flip))[:MOST_VARIANTS]
        columns = len(variants)
        cells += [_to_image(pixels) for pixels in variants]
    return paste_cells(cells, columns)


def _to_image(pixels: torch.Tensor) -> Image.Image:
    shades = ((pixels[0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(shades.permute(1, 2, 0).contiguous().numpy())
