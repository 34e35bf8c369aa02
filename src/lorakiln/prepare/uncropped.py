"""The picture before its crop, scaled to leave room for other crops than the one in the middle."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

from PIL import Image

from lorakiln.prepare.buckets import Placement, Size
from lorakiln.prepare.decode import DRAFT_MARGIN, Decoded

# A folder that is hidden: of a dataset's own pictures none can be in it, and imagefolder readers leave it out.
FOLDER = ".uncropped"


def name_uncropped(name: str) -> str:
    """Where it is, of a prepared picture's file name."""
    return (PurePosixPath(FOLDER) / name).as_posix()


def choose_uncropped_size(size: Size, placement: Placement, margin: float) -> Size:
    """The size that covers the bucket, 1 + margin times; nothing is enlarged for it that covers the bucket as it is.

    Args:
        size: of the source.
    """
    available = max(1.0, 1 / placement.scale)
    factor = min(1 + margin, available)
    width, height = (int(side * factor + 0.5) for side in placement.resized)
    if factor == available > 1:
        return size
    return width, height


def find_enough_pixels(decoded: Decoded, wanted: Size, again: Callable[[Size], Decoded]) -> Image.Image:
    """A picture from which `wanted` can be resized as well as from the whole file.

    Args:
        decoded: of a JPEG maybe less than there is in the file.
        again: decodes the file for a larger size.
    """
    image = decoded.image
    if image.size == decoded.size or all(
        side >= DRAFT_MARGIN * least for side, least in zip(image.size, wanted, strict=True)
    ):
        return image
    return again(wanted).image


def keep_beside(folder: Path, key: str) -> Path:
    """Where a stopped run keeps the file."""
    return folder / f"{key}.uncropped.png"
