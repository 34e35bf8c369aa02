"""What decoders notice and do not raise: libjpeg's warnings, libtiff's lines on stderr, and formats that they lack."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
LACKED = re.compile(r"unsupported|not supported|unknown (pixel|raw) mode|unknown data organization", re.IGNORECASE)


def check_jpeg(path: Path) -> list[str]:
    """Refuse a JPEG in whose data libjpeg finds an error that it mends, with other pixels, and that Pillow hides.

    Returns:
        what it warns of and what does no harm, for the picture's notes.

    Raises:
        Refused: the data are damaged.
    """
    if simplejpeg is None:
        return []
    data = path.read_bytes()
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


def find_missing_decoder(format: str, told: str) -> Refused | None:
    """A refusal, if a decoder's message says that it does not know this kind of file: such a file may be whole."""
    if LACKED.search(told):
        return Refused(f"a kind of {format} that is not read here", CONVERT, told)
    return None


@contextmanager
def hearing_libtiff() -> Iterator[list[str]]:
    """Collect what is written to the process's stderr inside: libtiff names no file there, and its lines stand alone.

    If the program is ended inside, what was written comes out as it is.
    """
    told: list[str] = []
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as heard:
        os.dup2(heard.fileno(), 2)
        ended = True
        try:
            yield told
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
            told += list(
                dict.fromkeys(line.strip() for line in said.decode(errors="replace").splitlines() if line.strip())
            )
