"""What decoders do not raise: libjpeg's warnings, libtiff's lines on stderr, data of another length; what they lack."""

import os
import re
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from lorakiln.prepare.lzw import GIF, TIFF, count_values
from lorakiln.prepare.signatures import AGAIN, CONVERT
from lorakiln.prepare.unusable_files import Refused

try:
    import simplejpeg
except ImportError:  # a machine for which it is not built; `prepare` says what is then not noticed
    simplejpeg = None

CORRUPT = "Corrupt JPEG data"
# Camera files that are whole may be filled up before a marker with a few bytes, or with many that are equal: libjpeg
# warns of it, and it harms nothing. What damage leaves over is the data of the picture's last blocks, which vary.
SURPLUS = re.compile(r"(\d+) extraneous bytes before marker 0x([0-9a-f]{2})")
HARMLESS = 4
# TIFF's tags, and values of its compression.
BITS, COMPRESSION, FILL_ORDER, OFFSETS, ROWS, SIZES, PLANAR = 258, 259, 266, 273, 278, 279, 284
TILE_OFFSETS, TILE_SIZES, JPEG_TABLES = 324, 325, 347
LZW, JPEG, DEFLATE = 5, 7, (8, 32946)
WIDEST_PIXEL = 32  # bytes: four samples of 64 bits
LACKED = re.compile(r"unsupported|not supported|unknown (pixel|raw) mode|unknown data organization", re.IGNORECASE)


def check_data(image: Image.Image, path: Path) -> list[str]:
    """Refuse a JPEG, GIF or TIFF whose data are not what its encoder wrote, as far as they tell, and Pillow hides it.

    Returns:
        what is odd and does no harm, for the picture's notes.

    Raises:
        Refused: the data are damaged.
    """
    if image.format in ("JPEG", "MPO"):
        return check_jpeg(path.read_bytes())
    if image.format == "GIF":
        _check_gif(path.read_bytes())
    if image.format == "TIFF":
        return _check_tiff(image, path.read_bytes())
    return []


def check_jpeg(data: bytes) -> list[str]:
    """Refuse a JPEG in whose data libjpeg finds an error that it mends, with other pixels; as `check_data`."""
    if simplejpeg is None:
        return []
    try:
        # All of the data is decoded at whatever size; an eighth costs least.
        simplejpeg.decode_jpeg(data, "GRAY", fastdct=True, fastupsample=True, min_height=1, min_width=1, min_factor=8)
    except ValueError as error:
        said = str(error)
    else:
        return []
    if not said.startswith(CORRUPT):
        return []  # of a header that does not matter, or of a kind that Pillow reads or refuses by itself
    detail = said.removeprefix(CORRUPT).strip(": ")
    if surplus := SURPLUS.search(said):
        count, marker = int(surplus[1]), bytes([0xFF, int(surplus[2], 16)])
        if count <= HARMLESS or re.search(rb"(.)\1{%d}" % (count - 1) + re.escape(marker), data, re.DOTALL):
            return [detail]
    raise Refused("damaged or cut off", AGAIN, detail)


def _check_gif(data: bytes) -> None:
    """Count what the first picture's codes stand for (GIF89a, sections 18 to 22)."""
    try:
        at = 13 + _table_size(data[10])
        while data[at] == 0x21:  # an extension
            at = _skip_blocks(data, at + 2)[0]
        if data[at] != 0x2C:
            return
        width, height = (int.from_bytes(data[at + k : at + k + 2], "little") for k in (5, 7))
        at += 10 + _table_size(data[at + 9])
        bits = data[at]
        codes = _skip_blocks(data, at + 1)[1]
    except IndexError:
        raise Refused("damaged or cut off", AGAIN, "it ends within a block") from None
    if 2 <= bits <= 8:
        _compare(count_values(codes, bits, GIF), (width * height,), "pixels")


def _table_size(flags: int) -> int:
    return 3 * (2 << (flags & 7)) if flags & 0x80 else 0


def _skip_blocks(data: bytes, at: int) -> tuple[int, bytes]:
    """Where the sub-blocks that begin at `at` end, and what they hold."""
    held = []
    while size := data[at]:
        held.append(data[at + 1 : at + 1 + size])
        at += size + 1
    return at + 1, b"".join(held)


def _check_tiff(image: Image.Image, data: bytes) -> list[str]:
    """Check the strips or tiles (TIFF 6.0; Adobe's notes of 1995 and 2002 for deflate and JPEG)."""
    tags = getattr(image, "tag_v2", {})
    offsets, sizes = tags.get(OFFSETS) or tags.get(TILE_OFFSETS), tags.get(SIZES) or tags.get(TILE_SIZES)
    if not offsets or not sizes or tags.get(FILL_ORDER, 1) != 1:
        return []
    compression, notes = tags.get(COMPRESSION), []
    for number, (offset, size) in enumerate(zip(offsets, sizes, strict=False)):
        piece = data[offset : offset + size]
        if compression in DEFLATE:
            _check_deflate(piece, image.width * image.height * WIDEST_PIXEL)
        elif compression == JPEG and len(piece) > 4:
            tables = bytes(tags.get(JPEG_TABLES, b""))
            notes += check_jpeg(tables[:-2] + piece[2:] if tables else piece)
        elif compression == LZW and OFFSETS in tags and not (piece[:1] == b"\0" and piece[1:2] > b"\0"):
            _compare(count_values(piece, 8, TIFF), _strip_bytes(image.size, tags, number), "bytes")
    return sorted(set(notes))


def _strip_bytes(size: tuple[int, int], tags: Mapping[int, Any], number: int) -> tuple[int, ...]:
    """How many bytes a strip has: the last may be cut off at the picture's end, or filled up."""
    bits = tags.get(BITS, (1,))
    planes = 1 if tags.get(PLANAR, 1) == 2 else len(bits)
    row = (size[0] * bits[0] * planes + 7) // 8
    rows = min(tags.get(ROWS, size[1]), size[1])
    left = size[1] - number % -(-size[1] // rows) * rows
    return row * min(rows, left), row * rows


def _compare(count: int | None, expected: tuple[int, ...], unit: str) -> None:
    if count is not None and count not in expected:
        found = f"data for {count:,} {unit}" if count >= 0 else "a code that stands for nothing"
        raise Refused("damaged or cut off", AGAIN, f"{found} where {expected[0]:,} are expected")


def _check_deflate(piece: bytes, most: int) -> None:
    """Read to the checksum, which libtiff does not: it stops when it has its pixels. At most so many bytes are made."""
    reader = zlib.decompressobj()
    try:
        while piece and not reader.eof and most > 0:
            most -= len(reader.decompress(piece, 1 << 20))
            piece = reader.unconsumed_tail
    except zlib.error as error:
        raise Refused("damaged or cut off", AGAIN, str(error).rpartition(": ")[2]) from None


def find_missing_decoder(format: str, message: str) -> Refused | None:
    """A refusal, if a decoder's message says that it does not know this kind of file: such a file may be whole."""
    if LACKED.search(message):
        return Refused(f"a kind of {format} that is not read here", CONVERT, message)
    return None


@contextmanager
def capture_libtiff_warnings() -> Iterator[list[str]]:
    """Collect what is written to the process's stderr inside: libtiff names no file there, and its lines stand alone.

    If the program is ended inside, what was written comes out as it is.
    """
    lines: list[str] = []
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as heard:
        os.dup2(heard.fileno(), 2)
        ended = True
        try:
            yield lines
            ended = False
        except Exception:
            ended = False
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            heard.seek(0)
            said = heard.read()
            if ended:
                os.write(2, said)
            lines += list(
                dict.fromkeys(line.strip() for line in said.decode(errors="replace").splitlines() if line.strip())
            )
