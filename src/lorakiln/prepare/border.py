"""Bars along the sides of a picture: a film's letterbox, a frame, a caption's strip, what a scanner, a screenshot or a
film made for another screen adds.
"""

import numpy as np
from PIL import Image

FLAT = 12  # of 255: what a poor JPEG makes of one colour
STEP = 24  # of 255: what ends a bar
SOFT = 2  # pixels in which resizing and JPEG blend a bar with what comes after it
RINGS = 8  # pixels in which a JPEG repeats an edge beside it
MOSTLY = 0.8  # of a line has the bar's colour; the rest may be words or signs on it
WIDE = 0.6  # of a line differs from the bar before it; the rest may be the other two bars of a frame
ALONE = 0.85  # the same of a bar alone: a house stands on its ground with less
NEXT, PLAIN = 10, 0.9  # of the tenth of a side after a bar alone so much has one colour where that is a ground too
MOST = 0.4  # of a side: one that is wider is what the picture shows
# Of bars that are blurred or shaded, mean steps between neighbours, of 255.
SMOOTH = 3.0
SHARP = 6.0  # where they end
RAMP = 5  # pixels in which a picture that was enlarged does
LEAST = 0.02  # of a side
ENOUGH = 64  # pixels of a line, or lines, that tell what all are like
UNEQUAL = 0.02  # of a side: two such bars are as wide as each other


def measure_border(image: Image.Image) -> float:
    """The share of the picture that lies in bars, in [0, 1).

    A bar ends at a straight line, where most of the line changes at once, so that a plain ground is none. Two of one
    colour, above and below or left and right, are bars; and one alone, or two of different colours, if it is black,
    grey or white and more than another plain ground begins there: a sky and a ground are none. Two that are blurred or
    shaded are, where they are as wide as each other and what is between them is sharper.

    Args:
        image: RGB, as it is trained on, for a crop may take bars away.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.int16)
    (height, width), (rows, columns) = pixels.shape[:2], (_count_bars(pixels), _count_bars(pixels.swapaxes(0, 1)))
    return float(1 - (height - rows) * (width - columns) / (height * width))


def _count_bars(lines: np.ndarray) -> int:
    """How many lines the first bar and the last one have, together.

    Args:
        lines: (L, N, 3).
    """
    ends = lines[0], lines[-1]
    if np.ptp(np.concatenate(ends), axis=0).max() <= FLAT:
        bars = _count_bar(lines), _count_bar(lines[::-1])
        if all(bars):
            return sum(bars)
    alone = sum(_count_bar(one, ALONE) for one in (lines, lines[::-1]) if _is_grey(one[0]) and _ends_in_detail(one))
    return alone or _count_smooth(lines)


def _count_bar(lines: np.ndarray, wide: float = WIDE) -> int:
    """How many lines the bar has that begins with the first; 0: none does.

    Args:
        wide: how much of a line must differ from the bar that ends before it.
    """
    if np.ptp(lines[0], axis=0).max() > FLAT:
        return 0
    away = _differ(lines[: int(MOST * len(lines)) + SOFT + 1], np.median(lines[0], axis=0))
    flat = (away <= FLAT).mean(axis=1) >= MOSTLY
    count = int(flat.argmin())
    if flat.all() or count > MOST * len(lines):
        return 0
    # What is on a bar ends before it does: what goes on into the picture, a hat's brim, lies on a ground.
    plain = away[:count].max(axis=1) <= FLAT
    if not plain[count - max(SOFT, min(RINGS, count // 4)) - 1 :].any():
        return 0
    return count if (away[min(count + SOFT, len(away) - 1)] > STEP).mean() >= wide else 0


def _is_grey(line: np.ndarray) -> bool:
    return bool(np.ptp(np.median(line, axis=0)) <= FLAT)


def _ends_in_detail(lines: np.ndarray) -> bool:
    """Whether what comes after the first bar is more than one colour."""
    begin = _count_bar(lines) + SOFT
    inner = lines[begin : begin + max(1, len(lines) // NEXT)]
    return bool(inner.size and (_differ(inner, np.median(inner, axis=(0, 1))) <= FLAT).mean() < PLAIN)


def _count_smooth(lines: np.ndarray) -> int:
    """How many lines two bars have together that are blurred, or of which the colour changes little by little."""
    sides, least = (lines, lines[::-1]), int(LEAST * len(lines)) + 2
    # Most pictures are not smooth at their sides, and need no further look.
    if any(_measure_detail(one[:least]) > SMOOTH for one in sides):
        return 0
    bars = [_count_until_edge(one[: int(MOST * len(lines)) + RAMP + 1]) for one in sides]
    if min(bars) < LEAST * len(lines) or abs(bars[0] - bars[1]) > max(SOFT, UNEQUAL * len(lines)):
        return 0
    inner = lines[bars[0] + RAMP : len(lines) - bars[1] - RAMP]
    kept = [one[: max(1, count - RAMP)] for one, count in zip(sides, bars, strict=True)]
    if any(np.ptp(one, axis=(0, 1)).max() <= FLAT for one in kept):
        return 0  # of one colour, which is no bar by the rules for these
    outer = max(map(_measure_detail, kept))
    return sum(bars) if len(inner) and _measure_detail(inner) > 2 * outer else 0


def _count_until_edge(lines: np.ndarray) -> int:
    """How many smooth lines there are before the first straight edge; 0: none, or no edge."""
    some = np.ascontiguousarray(lines[:, :: max(1, lines.shape[1] // ENOUGH)])
    steps = np.abs(np.diff(some, axis=0)).mean(axis=(1, 2))
    calm = steps <= SMOOTH
    count = int(calm.argmin())
    if calm.all() or not count or _measure_detail(lines[:count]) > SMOOTH:
        return 0
    edge = count + int(steps[count : count + RAMP].argmax())
    changed = np.abs(some[min(count + RAMP, len(some) - 1)] - some[count - 1]).max(axis=1)
    return edge + 1 if steps[edge] >= SHARP and (changed > FLAT).mean() >= WIDE else 0


def _measure_detail(lines: np.ndarray) -> float:
    """The mean step from a pixel to its neighbour along the lines, of 255."""
    some = lines[:: max(1, len(lines) // ENOUGH)]
    return float(np.abs(np.diff(some, axis=1)).mean()) if lines.shape[1] > 1 else 0.0


def _differ(lines: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """How far pixels are from a colour, in the channel in which they are farthest."""
    return np.asarray(np.abs(lines - colour).max(axis=-1))
