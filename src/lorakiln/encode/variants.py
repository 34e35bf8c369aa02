"""The variants of a picture: the plain one, others that are drawn, and each of them mirrored.

What is drawn follows from the source picture's sha256 and the variant's number alone: it is the same in every run, and
another picture beside it changes nothing.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lorakiln.artefacts.pictures import read_picture
from lorakiln.console.errors import UserError
from lorakiln.encode.colour_changes import ColourChange
from lorakiln.families.protocol import Place
from lorakiln.rows import CaptionedRow, Uncropped
from lorakiln.schema.augment import AugmentSettings
from lorakiln.schema.encode import EncodeSettings

CHANGED = "it was changed after `prepare`: change the raw picture instead, and run `dvc repro`"


@dataclass(frozen=True)
class View:
    """A way of seeing a picture.

    Attributes:
        box: what of the uncropped picture is seen: left, top, right and bottom, pixels; None: the prepared crop.
        colour: what of its colours is changed; None: nothing.
    """

    box: tuple[int, int, int, int] | None = None
    colour: ColourChange | None = None


@dataclass(frozen=True)
class ViewedPicture:
    """A picture's files, and how it is seen.

    Attributes:
        file: of the prepared crop.
        uncropped: of the picture before it, where a view needs it.
    """

    file: Path
    uncropped: Path | None = None
    views: tuple[View, ...] = (View(),)

    def open(self, size: tuple[int, int]) -> "OpenPicture":
        """Read the files.

        Raises:
            UserError: one is no picture, or the crop is not of `size` (width, height).
        """
        image = read_picture(self.file, CHANGED)
        if image.size != size:
            found = "{}x{}".format(*image.size)
            raise UserError(f"is {found} pixels, metadata.jsonl says {size[0]}x{size[1]}", where=self.file, fix=CHANGED)
        return OpenPicture(image, read_picture(self.uncropped, CHANGED) if self.uncropped else None, self.views)


@dataclass(frozen=True)
class OpenPicture:
    """A picture's pixels."""

    image: Image.Image
    uncropped: Image.Image | None
    views: tuple[View, ...]

    def crop(self, number: int) -> Image.Image:
        """RGB of the bucket's size, as view `number` has it, its own colours."""
        box = self.views[number].box
        if box is None:
            return self.image
        assert self.uncropped is not None
        return self.uncropped.crop(box)


def list_variants(settings: EncodeSettings) -> tuple[str, ...]:
    """The names of every picture's variants, in their order; those of the views, each followed by its mirror image."""
    names = ["plain", *(f"augment{number}" for number in range(1, settings.augment.variants + 1))]
    if not settings.flip:
        return tuple(names)
    return tuple(one for name in names for one in (name, "flip" if name == "plain" else f"{name}_flip"))


def draw_views(row: CaptionedRow, settings: AugmentSettings) -> tuple[View, ...]:
    """How a picture is seen: plain, and the settings' variants; of all of them the mirror image is one more.

    Raises:
        ValueError: crops are drawn, and the picture before its crop was not kept.
    """
    return (View(), *(_draw_view(row, settings, number) for number in range(1, settings.variants + 1)))


def _draw_view(row: CaptionedRow, settings: AugmentSettings, number: int) -> View:
    # All are drawn whatever the settings are, so that one range does not decide what comes of the others.
    drawn = np.random.default_rng([int(row.sha256[:16], 16), number]).random(7).tolist()
    colour = ColourChange.draw(settings, drawn[2:]) if settings.changes_colour else None
    if settings.crop == "centre":
        return View(colour=colour)
    if row.uncropped is None:
        raise ValueError("there is nothing to crop from")
    return View(_draw_box(row.uncropped, (row.width, row.height), drawn[0], drawn[1]), colour)


def _draw_box(uncropped: Uncropped, bucket: tuple[int, int], x: float, y: float) -> tuple[int, int, int, int]:
    """Anywhere, all places alike; x and y in [0, 1)."""
    left = int(x * (uncropped.width - bucket[0] + 1))
    top = int(y * (uncropped.height - bucket[1] + 1))
    return left, top, left + bucket[0], top + bucket[1]


def locate_view(row: CaptionedRow, view: View, mirrored: bool = False) -> Place:
    """Where a view was taken from its source, which was mirrored first if the view is."""
    if view.box and row.uncropped:
        (left, top, right, _), width = view.box, row.uncropped.width
    else:
        (left, top, right, _), width = row.crop, row.resized[0] if row.resized else row.crop[0] + row.crop[2]
    return (row.source_height, row.source_width, top, width - right if mirrored else left, row.height, row.width)


def to_pixels(image: Image.Image) -> Tensor:
    """(3, H, W) in [-1, 1]."""
    shades = np.asarray(image, dtype=np.float32)
    return torch.from_numpy(shades / 127.5 - 1).permute(2, 0, 1)
