"""A curve as one row of characters."""

import sys
from collections.abc import Sequence
from typing import TextIO

BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN = "_.-:=+*#"  # the same heights where the blocks cannot be shown


def format_sparkline(values: Sequence[float], stream: TextIO | None = None) -> str:
    """A character for each value, 0 and the greatest being the lowest and the highest of eight.

    Args:
        values: at least 0.
        stream: where it is going to be shown; stdout if None. Blocks are for terminals: a log may be read anywhere.
    """
    stream = stream or sys.stdout
    signs = BLOCKS if stream.isatty() and _holds(stream, BLOCKS) else PLAIN
    top = max(values) or 1.0
    return "".join(signs[round(value / top * (len(signs) - 1))] for value in values)


def _holds(stream: TextIO, text: str) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
