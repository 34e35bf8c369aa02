"""Bars of one colour on two sides of a picture: a film's letterbox, a frame, what a scanner or a screenshot adds."""

import numpy as np
from PIL import Image

FLAT = 12  # of 255: what a poor JPEG makes of one colour
STEP = 24  # of 255: what ends a bar
SOFT = 2  # pixels in which resizing and JPEG blend a bar with what comes after it
WIDE = 0.6  # of a line differs from the bar before it; the rest may be the other two bars of a frame
MOST = 0.4  # of a side: two that are wider are what the picture shows


def measure_border(image: Image.Image) -> float:
    """The share of the picture that lies in bars, in [0, 1).

    Bars come in pairs of one colour, above and below, or left and right, and end at a straight line. So a plain ground
    is none, nor are a sky and a ground of two colours.

    Args:
        image: RGB, as it is trained on, for a crop may take bars away.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.int16)
    (height, width), (rows, columns) = pixels.shape[:2], (_count_bars(pixels), _count_bars(pixels.swapaxes(0, 1)))
    return float(1 - (height - rows) * (width - columns) / (height * width))


def _count_bars(lines: np.ndarray) -> int:
    """How many lines the first bar and the last one have, together; 0 if they are no pair.

    Args:
        lines: (L, N, 3).
    """
    first, last = lines[0], lines[-1]
    if np.ptp(np.concatenate([first, last]), axis=0).max() > FLAT:
        return 0
    away = np.abs(lines - np.median(first, axis=0)).max(axis=2)
    flat = (away <= FLAT).all(axis=1)
    if flat.all():
        return 0
    before, after = int(flat.argmin()), int(flat[::-1].argmin())
    inner = (min(before + SOFT, len(lines) - 1), max(len(lines) - 1 - after - SOFT, 0))
    ends = all((away[line] > STEP).mean() >= WIDE for line in inner)
    return before + after if ends and max(before, after) <= MOST * len(lines) else 0
