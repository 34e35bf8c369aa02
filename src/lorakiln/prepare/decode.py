"""One file to upright sRGB pixels, read to its last byte, or the reason why not."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.Image import Transpose

from lorakiln.prepare.buckets import Geometry, Placement, Size, choose_bucket
from lorakiln.prepare.colour import check_mode, take_alpha, to_srgb
from lorakiln.prepare.damage import capture_libtiff_warnings, check_data, find_missing_decoder
from lorakiln.prepare.signatures import AGAIN, identify_file
from lorakiln.prepare.unusable_files import Refused
from lorakiln.schema.prepare import PrepareSettings

# Pillow would also open EPS (which runs Ghostscript), PDF, PSD, ICO and many more.
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "JPEG2000"]
# EXIF orientation (tag 0x0112, EXIF 2.32 section 4.6.4) -> what puts the picture upright.
UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
LYING = (5, 6, 7, 8)  # orientations that swap width and height
# A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where what is left is still this much larger than needed: enough for
# Lanczos to see no difference.
DRAFT_MARGIN = 2
Box = tuple[int, int, int, int]  # left, top, right and bottom, pixels
# In Pillow's message about a PNG whose compressed texts go beyond its limits (1 MB for one, 64 MB for all).
TOO_MUCH_TEXT = "MAX_TEXT_"


@dataclass(frozen=True)
class Decoded:
    """A picture.

    Attributes:
        image: RGB, upright; a JPEG may be smaller than it is in the file, though never than its placement needs.
        size: (width, height) as in the file, upright; with a crop by hand that of its box, which `image` then has.
        placement: where it goes.
        format: Pillow's name of the file's format.
        notes: what was special.
        alpha: how opaque it is, L and of the image's size; None: wholly.
        cropped_from: the size of the whole picture, where a crop by hand was taken from it.
    """

    image: Image.Image
    size: Size
    placement: Placement
    format: str
    notes: list[str]
    alpha: Image.Image | None = None
    cropped_from: Size | None = None


def decode(
    path: Path,
    settings: PrepareSettings,
    least: Size | None = None,
    box: Box | None = None,
    geometry: Geometry | None = None,
) -> Decoded:
    """Decode a regular file fully.

    Args:
        geometry: that of its bucket; None: the settings'.
        least: the largest size that the picture is resized to; None: its placement's.
        box: left, top, right and bottom, pixels of the upright picture: a crop by hand, which is taken before all else.

    Raises:
        Refused: it is damaged, no picture, or outside the settings' limits; or the box is not within it.
    """
    try:
        if path.stat().st_size == 0:
            raise Refused("empty file", AGAIN)
        with _quiet_pillow() as heard, Image.open(path, formats=_formats()) as image:  # noqa: TID251
            if image.format == "PNG":
                _verify_png(path)
            decoded = _decode(image, path, settings, least, box, geometry or Geometry.of(settings))
        decoded.notes.extend(sorted({str(warning.message).strip() for warning in heard}))
        return decoded
    except Refused:
        raise
    except UnidentifiedImageError:
        raise identify_file(path) from None
    except MemoryError:
        raise Refused(
            "does not fit into memory", "make it smaller, or lower prepare.max_pixels and prepare.workers"
        ) from None
    except PermissionError as error:
        raise Refused("cannot be read", "change its permissions", error.strerror or "") from None
    except Exception as error:  # whatever a decoder raises: OSError, SyntaxError, struct.error, ValueError, ...
        # Pillow's message may name the file again, by a path that differs between machines.
        detail = str(error).replace(str(path), path.name).splitlines()
        if TOO_MUCH_TEXT in str(error):
            raise Refused("more text in it than a picture needs", "save it again without metadata", detail[0]) from None
        reason = detail[0] if detail else type(error).__name__
        # A file whose kind its decoder lacks has not been looked into.
        raise find_missing_decoder(_format_of(path), reason) or Refused("damaged or cut off", AGAIN, reason) from None


def _decode(
    image: Image.Image,
    path: Path,
    settings: PrepareSettings,
    least: Size | None,
    box: Box | None,
    geometry: Geometry,
) -> Decoded:
    format, orientation = image.format or "", _orientation(image)
    width, height = image.size
    whole = (height, width) if orientation in LYING else (width, height)
    size = measure_box(box, whole) if box else whole
    check_mode(image)
    _check_pixels(whole, settings)
    _check_size(size, settings)
    notes = _check_frames(image, settings)
    try:
        placement = choose_bucket(size, geometry.resolution, geometry.bucket)
    except ValueError as error:
        fix = "use larger pictures, or set prepare.bucket.no_upscale=false"
        raise Refused("smaller than the smallest bucket", fix, str(error)) from None
    if format in ("JPEG", "MPO"):
        notes += check_data(image, path)
        needed = least or placement.resized
        needed = needed[::-1] if orientation in LYING else needed
        if not box:  # whose edges are between no pixels but the whole picture's
            image.draft(None, (needed[0] * DRAFT_MARGIN, needed[1] * DRAFT_MARGIN))
    notes += _load(image)
    if format in ("GIF", "TIFF"):  # whose decoders say more of what they notice
        notes += check_data(image, path)
    pixels, colour_notes = to_srgb(image, settings.background)
    alpha = take_alpha(image)
    if orientation in UPRIGHT:
        pixels = pixels.transpose(UPRIGHT[orientation])
        alpha = alpha.transpose(UPRIGHT[orientation]) if alpha else None
        notes.append(f"put upright (EXIF orientation {orientation})")
    if box:
        pixels, alpha = pixels.crop(box), alpha.crop(box) if alpha else None
    return Decoded(pixels, size, placement, format, notes + colour_notes, alpha, whole if box else None)


def measure_picture(path: Path) -> Size:
    """The size of a picture that is upright, from its file's beginning alone.

    Raises:
        Refused: it is no picture.
    """
    try:
        with _quiet_pillow(), Image.open(path, formats=_formats()) as image:  # noqa: TID251
            return image.size[::-1] if _orientation(image) in LYING else image.size
    except UnidentifiedImageError:
        raise identify_file(path) from None
    except Exception as error:  # as in decode: whatever a decoder raises
        detail = str(error).splitlines() or [type(error).__name__]
        raise Refused("damaged or cut off", AGAIN, detail[0]) from None


def measure_box(box: Box, size: Size) -> Size:
    """The width and height of a crop by hand.

    Raises:
        Refused: it is not within a picture of `size`.
    """
    if box[2] > size[0] or box[3] > size[1]:
        detail = f"{list(box)} in a picture of {size[0]}x{size[1]} pixels"
        raise Refused("its crop by hand lies outside of it", "mend the crop in the picture's .edit.yaml", detail)
    return box[2] - box[0], box[3] - box[1]


def _load(image: Image.Image) -> list[str]:
    """Read all pixels; what the decoder says beside, where it does so on stderr."""
    if image.format != "TIFF":
        image.load()
        return []
    failed: OSError | None = None
    with capture_libtiff_warnings() as heard:
        try:
            image.load()
        except OSError as error:
            failed = error
    if failed:  # Pillow has a number for it, libtiff words
        raise OSError("; ".join([*heard, str(failed)])) from failed
    return heard


def _format_of(path: Path) -> str:
    return path.suffix.removeprefix(".").upper() or "picture"


def _verify_png(path: Path) -> None:
    """Check the checksums: load() does not, and a flipped byte may decode into other pixels."""
    with Image.open(path, formats=["PNG"]) as image:  # noqa: TID251
        image.verify()


def _check_pixels(size: Size, settings: PrepareSettings) -> None:
    width, height = size
    if width * height > settings.max_pixels:
        detail = f"{width}x{height}: {width * height:,} pixels, the limit is {settings.max_pixels:,}"
        raise Refused("too many pixels", "make it smaller, or raise prepare.max_pixels", detail)


def _check_size(size: Size, settings: PrepareSettings) -> None:
    shape = f"{size[0]}x{size[1]}"
    if settings.findings.too_small == "error" and min(size) < settings.min_side:
        raise Refused(
            "too small",
            "remove it, lower prepare.min_side, or set prepare.findings.too_small=warn",
            f"{shape}, the limit is {settings.min_side} pixels",
        )
    if max(size) > settings.max_aspect * min(size):
        detail = f"{shape}: {max(size) / min(size):.1f} to 1, the limit is {settings.max_aspect:g} to 1"
        raise Refused("too long for its width", "crop it, or raise prepare.max_aspect", detail)


def _check_frames(image: Image.Image, settings: PrepareSettings) -> list[str]:
    # An MPO is a JPEG with a second view or a thumbnail of itself behind it, as phones write them.
    if image.format == "MPO" or not getattr(image, "is_animated", False):
        return []
    frames = getattr(image, "n_frames", 2)
    if settings.animated == "error":
        fix = "export the frame you want, or set prepare.animated=first_frame"
        raise Refused("animated or with several pages", fix, f"{frames} frames")
    return [f"the first of {frames} frames"]


def _orientation(image: Image.Image) -> int:
    """EXIF orientation; 1 (upright) where there is none or it cannot be read."""
    if image.format == "TIFF":
        return 1  # Pillow puts these upright itself
    try:
        orientation: int = image.getexif().get(ExifTags.Base.Orientation, 1)
        return orientation
    except Exception:  # a damaged block of metadata does not make the picture unusable
        return 1


@contextmanager
def _quiet_pillow() -> Iterator[list[warnings.WarningMessage]]:
    """Collect Pillow's warnings, and lift its own limit of pixels: the settings' limit is checked before decoding."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            yield heard
    finally:
        Image.MAX_IMAGE_PIXELS = limit


@cache
def _formats() -> list[str]:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return FORMATS
    register_heif_opener()
    return [*FORMATS, "HEIF"]
