"""`lorakiln crop`: pictures of one size, cropped and scaled."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from lorakiln.console.counts import format_count
from lorakiln.console.terminal_text import escape_line

LISTED = 5  # of the pictures that were enlarged


def crop(
    pictures: Annotated[Path, typer.Argument(metavar="PICTURES", help="a folder, and those in it")],
    size: Annotated[str, typer.Option(metavar="WxH", help="pixels: 512x768")],
    out: Annotated[Path, typer.Option(help="a folder that is not there yet")],
    format: Annotated[Literal["png", "jpg", "webp"], typer.Option(help="of the files")] = "png",
) -> None:
    """Write a folder's pictures in one size: upright, in sRGB, scaled until they cover it and cropped in the middle, or
    in the box drawn by hand; caption files come along. Training crops by itself: this is for other programs."""
    from lorakiln.tools.crop import crop_pictures
    from lorakiln.tools.draw_request import parse_size

    sides = parse_size(size)
    assert sides
    made = crop_pictures(pictures, out, sides, format)
    print(
        f"{escape_line(str(out))}: {format_count(made.pictures, 'picture')} of {size} pixels, "
        f"{format_count(made.captions, 'caption file')}"
    )
    if made.enlarged:
        more = ", ..." if len(made.enlarged) > LISTED else ""
        names = ", ".join(map(escape_line, made.enlarged[:LISTED]))
        print(f"enlarged, for they were smaller: {len(made.enlarged)} ({names}{more})")
