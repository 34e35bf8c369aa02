"""A picture's file as pixels, or what is wrong with it."""

from pathlib import Path

from PIL import Image, ImageOps

from lorakiln.console.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # Pillow would also open EPS, which runs Ghostscript


def read_picture(file: Path) -> Image.Image:
    """RGB, upright by its EXIF orientation, read to its end.

    Raises:
        UserError: it is not there, damaged, cut off, no picture, or so large that it may be made to fill the memory.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # whatever a decoder raises: OSError, SyntaxError, DecompressionBombError, ...
        fix = "name a PNG, JPEG or WebP"
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"not a readable picture ({reason})", where=file, fix=fix) from error
