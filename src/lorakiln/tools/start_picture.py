"""A picture that is named to begin drawing with, read by the rules by which `prepare` reads those of a dataset."""

from pathlib import Path

from PIL.Image import Image

from lorakiln.artefacts.dvc_pointers import check_pulled
from lorakiln.artefacts.file_safety import check_regular
from lorakiln.console.errors import UserError
from lorakiln.prepare.decode import decode
from lorakiln.prepare.unusable_files import Refused, drop_settings
from lorakiln.schema.base import LARGEST_SIDE
from lorakiln.schema.prepare import BucketSettings, PrepareSettings

# Nothing is said of the shape or the size of a dataset's pictures: this one is cut to what is drawn.
SETTINGS = PrepareSettings(
    dataset="picture",
    resolution=1,
    bucket=BucketSettings(enable=False, min=1, max=LARGEST_SIDE, step=1),
    animated="first_frame",
    min_side=1,
    max_aspect=10_000,
)


def read_start_picture(file: Path) -> Image:
    """RGB in sRGB and upright, of its own size; what is transparent is white.

    Raises:
        UserError: it is not there, not a regular file, no picture, too large, or damaged as far as its data tell.
    """
    check_regular(file)
    check_pulled(file)
    if not file.is_file():
        raise UserError("no such picture", where=file, fix="name a PNG, JPEG or WebP")
    try:
        # A JPEG is not decoded at a part of its size.
        return decode(file, SETTINGS, least=(LARGEST_SIDE, LARGEST_SIDE)).image
    except Refused as refused:
        detail = f" ({refused.detail})" if refused.detail else ""
        fix = drop_settings(refused.fix)
        raise UserError(f"not a readable picture: {refused.reason}{detail}", where=file, fix=fix) from None
