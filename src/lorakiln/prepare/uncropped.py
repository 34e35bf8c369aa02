"""The picture before its crop, scaled to leave room for other crops than the one in the middle."""

from collections.abc import Callable
from pathlib import PurePosixPath

from PIL import Image

from lorakiln.prepare.buckets import Placement, Size
from lorakiln.prepare.decode import DRAFT_MARGIN, Decoded
from lorakiln.prepare.faces import Box

# A folder that is hidden: of a dataset's own pictures none can be in it, and imagefolder readers leave it out.
FOLDER = ".uncropped"
# Times what covers the bucket: for a face that is tiny no picture is kept that is larger on each side.
LARGEST = 4.0


def name_uncropped(name: str) -> str:
    """Where it is, of a prepared picture's file name."""
    return (PurePosixPath(FOLDER) / name).as_posix()


def choose_uncropped_size(
    size: Size, placement: Placement, margin: float, face: Box | None = None, closest: float = 1.0
) -> Size:
    """The size that covers the bucket, 1 + margin times, or more where the closest crop around a face wants it; nothing
    is enlarged for it that covers the bucket as it is.

    Args:
        size: of the source.
        face: as fractions of the picture.
        closest: the crop's shorter side, in multiples of the face's longer one.
    """
    available = max(1.0, 1 / placement.scale)
    wanted = 1 + margin
    if face:
        # The crop then has the bucket's size.
        wanted = max(wanted, min(LARGEST, min(placement.bucket) / (closest * measure_face(face, placement.resized))))
    factor = min(wanted, available)
    width, height = (int(side * factor + 0.5) for side in placement.resized)
    if factor == available > 1:
        return size
    return width, height


def measure_face(face: Box, size: Size) -> float:
    """The longer side of a face, given as fractions of a picture of this size, in its pixels."""
    return max((face[2] - face[0]) * size[0], (face[3] - face[1]) * size[1])


def place_face(face: Box, size: Size) -> tuple[int, int, int, int]:
    """Its box in the pixels of a picture of this size, at least one wide and high."""
    left, top = (min(int(start * side), side - 1) for start, side in zip(face[:2], size, strict=True))
    ends = zip(face[2:], size, (left, top), strict=True)
    right, bottom = (max(round(end * side), start + 1) for end, side, start in ends)
    return left, top, right, bottom


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
