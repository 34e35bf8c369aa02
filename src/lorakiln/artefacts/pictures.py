"""A picture's file as pixels, or what is wrong with it; and the prompt that it tells."""

from pathlib import Path

from PIL import Image, ImageOps

from lorakiln.console.errors import UserError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")  # Pillow would also open EPS, which runs Ghostscript
AGAIN = "run the stage that made it again"


def read_picture(file: Path, fix: str = "") -> Image.Image:
    """RGB, upright by its EXIF orientation, read to its end.

    Args:
        fix: what to do about one that cannot be read; "" for pictures that the project has drawn or prepared.

    Raises:
        UserError: it is damaged, cut off, no picture, or so large that it may be made to fill the memory; with a
            `fix` also if it is not there.
        OSError: without a `fix`, what the system says of the file: it was removed meanwhile.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:  # noqa: TID251
            return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:
        if isinstance(error, OSError) and error.errno and not fix:
            raise
        # Whatever a decoder raises: OSError, SyntaxError, DecompressionBombError, ...
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"not a readable picture ({reason})", where=file, fix=fix or AGAIN) from error


def read_infotext(file: Path) -> str:
    """A picture's A1111 text, as `sampling.infotext` writes it; "" if it has none."""
    with Image.open(file, formats=FORMATS) as image:  # noqa: TID251
        return str(image.info.get("parameters", ""))


def read_prompt(file: Path) -> str:
    """The prompt in a picture's A1111 text: what stands before the negative prompt and the line of settings; "" if it
    has no such text.
    """
    lines = read_infotext(file).split("\n")[:-1]
    end = next((number for number, line in enumerate(lines) if line.startswith("Negative prompt: ")), len(lines))
    return "\n".join(lines[:end])
