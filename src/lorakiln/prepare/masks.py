"""A picture's mask, white where it is to be learned and black where it is not, with the geometry of the picture."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image
from PIL.Image import Resampling

from lorakiln.artefacts.hashing import hash_file
from lorakiln.prepare.buckets import Placement, Size
from lorakiln.prepare.decode import Box, Decoded, decode
from lorakiln.prepare.segmenting import Segmenter
from lorakiln.prepare.uncropped import FOLDER as UNCROPPED
from lorakiln.prepare.unusable_files import Refused
from lorakiln.rows import PictureMask
from lorakiln.schema.prepare import PrepareSettings

# A hidden folder, as that of the uncropped pictures is.
FOLDER = ".masks"
ALPHA = "alpha"
NETWORK = "network"
FROM_FILES = ("auto", "files")
FROM_ALPHA = ("auto", ALPHA)


@dataclass(frozen=True)
class MaskFile:
    """A mask as it was given: `name` below the dataset's folder."""

    name: str
    path: Path
    sha256: str


def choose_mask(source: str, masks: Mapping[str, Sequence[str]], settings: PrepareSettings) -> str | None:
    """The file of a picture's mask, below the dataset's folder; None where there is none, or none is wanted.

    Raises:
        Refused: there are several.
    """
    names = masks.get(source, ()) if settings.masks in FROM_FILES else ()
    if len(names) > 1:
        raise Refused("several masks for one picture", "remove all but one", ", ".join(names))
    return names[0] if names else None


def read_mask(
    file: MaskFile | None,
    decoded: Decoded,
    least: Size,
    settings: PrepareSettings,
    box: Box | None = None,
    segmenter: Segmenter | None = None,
) -> Image.Image | None:
    """What of a picture is to be learned, L, of the picture's shape; None: all of it.

    A file's colours count as their grey, and where it is transparent nothing is learned.

    Args:
        file: the mask's own; without one the picture's alpha channel is it, where the settings want that, and without
            that too what the segmenter finds.
        decoded: the picture.
        least: the largest size that the mask is resized to.
        box: the picture's crop by hand.

    Raises:
        Refused: the file is damaged, no picture, or of another shape than the picture.
    """
    if file is None:
        if settings.masks in FROM_ALPHA and decoded.alpha:
            return decoded.alpha
        return segmenter.find(decoded.image) if segmenter and settings.masks != "none" else None
    whole = decoded.cropped_from or decoded.size
    try:
        # A crop by hand is of the whole mask.
        least = whole if box else least
        mask = decode(file.path, settings.model_copy(update={"background": "black"}), least)
    except Refused as refused:
        raise Refused(f"its mask: {refused.reason}", refused.fix, _describe(file, refused.detail)) from None
    if not _are_alike(mask.size, whole):
        shapes = "{}x{} for {}x{}".format(*mask.size, *whole)
        raise Refused(
            "its mask has another shape", "make it as wide and high as the picture", _describe(file, f"{shapes} pixels")
        )
    shades = mask.image.convert("L")
    return shades.resize(whole, Resampling.BOX).crop(box) if box else shades


def write_mask(
    mask: Image.Image,
    placement: Placement,
    uncropped: Size | None,
    folder: Path,
    name: str,
    source: str,
    save: Callable[[Image.Image, Path], None],
) -> PictureMask:
    """Give a mask its picture's geometry, and write it.

    Each pixel is the mean of what it covers: what is wholly outside stays 0, which Lanczos would not leave so.

    Args:
        mask: L.
        uncropped: the size of the picture before its crop, where that is kept.
        folder, name: of the prepared picture.
        source: the mask's file below the dataset's folder; ALPHA or NETWORK.
    """
    crop = mask.resize(placement.resized, Resampling.BOX).crop(placement.crop)
    file_name, beside = name_masks(name)
    save(crop, folder / file_name)
    found = PictureMask(
        file_name=file_name,
        png_sha256=hash_file(folder / file_name),
        source=source,
        share=round(float(np.asarray(crop).mean()) / 255, 4),
    )
    if uncropped is None:
        return found
    save(mask.resize(uncropped, Resampling.BOX), folder / beside)
    return PictureMask(**found.to_dict(), uncropped=beside, uncropped_sha256=hash_file(folder / beside))


def name_masks(name: str) -> tuple[str, str]:
    """Where a prepared picture's mask is, and that of the picture before its crop."""
    return (PurePosixPath(FOLDER) / name).as_posix(), (PurePosixPath(FOLDER) / UNCROPPED / name).as_posix()


def _are_alike(mask: Size, picture: Size) -> bool:
    """Whether the sizes have the same ratio, but for a pixel of rounding of the mask's."""
    return abs(mask[0] * picture[1] - mask[1] * picture[0]) <= max(picture)


def _describe(file: MaskFile, detail: str) -> str:
    return f"{file.name}: {detail}" if detail else file.name
