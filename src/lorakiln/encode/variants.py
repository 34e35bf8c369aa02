"""The variants of a picture: the plain one, others that are drawn, and each of them mirrored.

What is drawn follows from the source picture's sha256 and the variant's number alone: it is the same in every run, and
another picture beside it changes nothing.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor

from lorakiln.artefacts.pictures import read_picture
from lorakiln.console.errors import UserError
from lorakiln.encode.colour_changes import ColourChange
from lorakiln.families.protocol import Place
from lorakiln.rows import CaptionedRow, Uncropped
from lorakiln.schema.augment import AugmentSettings
from lorakiln.schema.encode import EncodeSettings

FACE_SHIFT = 1 / 20  # of the face's longer side
CHANGED = "it was changed after `prepare`: change the raw picture instead, and run `dvc repro`"


@dataclass(frozen=True)
class View:
    """A way of seeing a picture.

    Attributes:
        box: what of the uncropped picture is seen, shrunk to the bucket where it is larger: left, top, right and
            bottom, pixels; None: the prepared crop.
        colour: what of its colours is changed; None: nothing.
    """

    box: tuple[int, int, int, int] | None = None
    colour: ColourChange | None = None


@dataclass(frozen=True)
class ViewedPicture:
    """A picture's files, and how it is seen.

    Attributes:
        file: of the prepared crop.
        uncropped: of the picture before it, where a view needs it; `uncropped_size` (width, height), pixels.
        mask, uncropped_mask: of the same sizes, what of it is to be learned; None: all of it.
        mirrored: whether its mirror images are; else, where there are such of other pictures, it is itself once more.
    """

    file: Path
    uncropped: Path | None = None
    uncropped_size: tuple[int, int] = (0, 0)
    views: tuple[View, ...] = (View(),)
    mask: Path | None = None
    uncropped_mask: Path | None = None
    mirrored: bool = True

    def open(self, size: tuple[int, int]) -> "OpenPicture":
        """Read the files.

        Raises:
            UserError: one is no picture, or not of its size; that of the crop is `size` (width, height).
        """
        uncropped = _read(self.uncropped, self.uncropped_size) if self.uncropped else None
        return OpenPicture(_read(self.file, size), uncropped, self.views, self.mirrored)

    def open_mask(self, size: tuple[int, int]) -> "OpenPicture":
        """The same of the masks, where there is one."""
        assert self.mask is not None
        uncropped = _read(self.uncropped_mask, self.uncropped_size) if self.uncropped_mask else None
        return OpenPicture(_read(self.mask, size), uncropped, self.views, self.mirrored)


@dataclass(frozen=True)
class OpenPicture:
    """A picture's pixels."""

    image: Image.Image
    uncropped: Image.Image | None
    views: tuple[View, ...]
    mirrored: bool = True

    def cut(self, number: int) -> Image.Image:
        """What view `number` shows, RGB, as large as it is there."""
        box = self.views[number].box
        if box is None:
            return self.image
        assert self.uncropped is not None
        return self.uncropped.crop(box)

    def crop(self, number: int) -> Image.Image:
        """RGB of the bucket's size, as view `number` has it, its own colours."""
        cut = self.cut(number)
        # Around a face, the box may be larger than the bucket.
        return cut if cut.size == self.image.size else cut.resize(self.image.size, Resampling.LANCZOS)


def _read(file: Path, size: tuple[int, int]) -> Image.Image:
    image = read_picture(file, CHANGED)
    if image.size != size:
        found = "{}x{}".format(*image.size)
        raise UserError(f"is {found} pixels, metadata.jsonl says {size[0]}x{size[1]}", where=file, fix=CHANGED)
    return image


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


def go_round(views: tuple[View, ...], count: int) -> tuple[View, ...]:
    """So many of them, beginning again where there are fewer."""
    return tuple(views[number % len(views)] for number in range(count))


def _draw_view(row: CaptionedRow, settings: AugmentSettings, number: int) -> View:
    # All are drawn whatever the settings are, so that one range does not decide what comes of the others.
    drawn = np.random.default_rng([int(row.sha256[:16], 16), number]).random(8).tolist()
    colour = ColourChange.draw(settings, drawn[2:7]) if settings.changes_colour else None
    if settings.crop == "centre":
        return View(colour=colour)
    if row.uncropped is None:
        raise ValueError("there is nothing to crop from")
    bucket, (x, y) = (row.width, row.height), drawn[:2]
    if settings.crop == "face" and row.uncropped.face:
        return View(_draw_face_box(row.uncropped, row.uncropped.face, bucket, x, y, drawn[7]), colour)
    return View(_draw_box(row.uncropped, bucket, x, y), colour)


def _draw_box(uncropped: Uncropped, bucket: tuple[int, int], x: float, y: float) -> tuple[int, int, int, int]:
    """Anywhere, all places alike; x and y in [0, 1)."""
    left = int(x * (uncropped.width - bucket[0] + 1))
    top = int(y * (uncropped.height - bucket[1] + 1))
    return left, top, left + bucket[0], top + bucket[1]


def _draw_face_box(
    uncropped: Uncropped, face: tuple[int, int, int, int], bucket: tuple[int, int], x: float, y: float, size: float
) -> tuple[int, int, int, int]:
    """A box of the bucket's shape around the face, of a size from `closest` to `widest`, as far as the picture reaches,
    and never smaller than the bucket, which would enlarge it; in its middle the face, moved by up to a twentieth of
    itself (as sd-scripts does it), and all of it inside of the picture.
    """
    longer = max(face[2] - face[0], face[3] - face[1])
    least, most = 1.0, min(uncropped.width / bucket[0], uncropped.height / bucket[1])
    closest, widest = (
        min(max(factor * longer / min(bucket), least), most) for factor in (uncropped.closest, uncropped.widest)
    )
    scale = closest + size * (widest - closest)
    edges = []
    limits = (uncropped.width, uncropped.height)
    for start, end, side, limit, shift in zip(face[:2], face[2:], bucket, limits, (x, y), strict=True):
        length = min(round(side * scale), limit)
        middle = (start + end) / 2 + (2 * shift - 1) * FACE_SHIFT * longer
        first = min(max(round(middle - length / 2), 0), limit - length)
        edges.append((first, first + length))
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


def locate_view(row: CaptionedRow, view: View, mirrored: bool = False) -> Place:
    """Where a view was taken from its source, which was mirrored first if the view is."""
    if view.box and row.uncropped:
        # As counted where the box has the bucket's size.
        scale = row.width / (view.box[2] - view.box[0])
        left, top, right, width = (round(edge * scale) for edge in (*view.box[:3], row.uncropped.width))
    else:
        (left, top, right, _), width = row.crop, row.resized[0] if row.resized else row.crop[0] + row.crop[2]
    return (row.source_height, row.source_width, top, width - right if mirrored else left, row.height, row.width)


def to_pixels(image: Image.Image) -> Tensor:
    """(3, H, W) in [-1, 1]."""
    shades = np.asarray(image, dtype=np.float32)
    return torch.from_numpy(shades / 127.5 - 1).permute(2, 0, 1)
