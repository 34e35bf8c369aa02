"""How much LZW data stand for: GIF's and TIFF's have no checksum, but a wrong code gives another number of pixels."""

from typing import NamedTuple

import numpy as np

WIDEST = 12  # bits of a code, in both formats
LONGEST = 16_000_000  # bytes that are gone through: seconds
USUAL, MOST_CODES = 1 << WIDEST, 1 << 18  # of one table; a GIF may go on with a full one
MOST_TABLES = 20_000  # whole files begin a new one every few thousand codes


class Variant(NamedTuple):
    """A format's kind of LZW.

    Attributes:
        order: of the bits in a byte, as numpy calls it.
        early: how many codes before it must a code's width grows. TIFF 6.0 (section 13) has 1, GIF89a (appendix F) 0.
    """

    order: str
    early: int


GIF = Variant("little", 0)
TIFF = Variant("big", 1)


def count_values(data: bytes, bits: int, variant: Variant) -> int | None:
    """How many values (bytes, indices of colours) the codes stand for, up to the code that ends them or the last one.

    Args:
        bits: of one value, 2 to 8.

    Returns:
        -1 where a code stands for nothing; None if there is too much to go through.
    """
    if len(data) > LONGEST:
        return None
    clear, at, total = 1 << bits, 0, 0
    starts, widths = _layout(bits, variant.early)
    for _ in range(MOST_TABLES):
        for most in (USUAL, MOST_CODES):
            codes = _read_codes(data, at, starts[:most], widths[:most], variant.order)
            stop = np.flatnonzero((codes == clear) | (codes == clear + 1))
            if len(stop) or len(codes) < most:
                break
        last = int(stop[0]) if len(stop) else len(codes)
        count = _count(codes[:last].tolist(), clear)
        if count is None:
            return -1
        total += count
        if len(stop) == 0 or codes[last] != clear:
            return total if len(stop) or len(codes) < MOST_CODES else None
        at += int(starts[last] + widths[last])
    return None


def _layout(bits: int, early: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the codes after a cleared table begin, in bits, and how wide they are. The first adds no entry."""
    entries = np.arange(MOST_CODES) + (1 << bits) + 1  # the highest entry when a code is read
    widths = np.full(len(entries), WIDEST)
    for width in range(WIDEST - 1, bits, -1):
        widths[entries + early < (1 << width)] = width
    return np.cumsum(widths) - widths, widths


def _read_codes(data: bytes, at: int, starts: np.ndarray, widths: np.ndarray, order: str) -> np.ndarray:
    """The codes from bit `at` on, as many as are whole and the layout has."""
    first = at // 8
    piece = np.frombuffer(data, np.uint8, offset=min(first, len(data)), count=-1 if first < len(data) else 0)
    known = np.unpackbits(piece[: int(starts[-1]) // 8 + 4], bitorder=order)  # type: ignore[call-overload]
    offset = at - 8 * first
    here = int(np.searchsorted(starts + widths + offset, len(known), side="right"))
    padded = np.concatenate([known, np.zeros(WIDEST, np.uint8)]).astype(np.int32)
    place = np.arange(WIDEST)
    found = padded[(starts[:here] + offset)[:, None] + place]
    inside = place < widths[:here, None]
    shift = place if order == "little" else widths[:here, None] - 1 - place
    return np.asarray((found * inside << np.where(inside, shift, 0)).sum(axis=1))


def _count(codes: list[int], clear: int) -> int | None:
    """How many values the codes of one table stand for; None if one of them stands for nothing."""
    lengths = [1] * (clear + 2)
    total = before = 0
    for number, code in enumerate(codes):
        if number and len(lengths) < 1 << WIDEST:
            lengths.append(before + 1)
        if code >= len(lengths):
            return None
        before = lengths[code]
        total += before
    return total
