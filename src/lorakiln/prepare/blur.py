"""How blurred a picture is, by what a further blur would take away from it (Crété-Roffet, Dolmiere, Ladret, Nicolas,
"The Blur Effect: Perception and Estimation with a New No-Reference Perceptual Blur Metric", SPIE 2007)."""

import numpy as np
from PIL import Image

LENGTH = 9  # pixels of the mean that blurs


def measure_blur(image: Image.Image) -> float:
    """0 where a blur would level all steps between neighbours, as of a sharp picture; 1 where it would change none.

    The larger of the two directions: a camera that moved blurs one. A picture of one shade, or no larger than the
    blur, is 0.

    Args:
        image: as it is trained on, for a large one that is shrunk is sharp again.
    """
    shades = np.asarray(image.convert("L"), dtype=np.float32) / 255
    return max(_measure_along(shades), _measure_along(shades.T))


def _measure_along(shades: np.ndarray) -> float:
    """Of the steps along the rows."""
    if shades.shape[1] <= LENGTH + 1:
        return 0.0
    sums = np.cumsum(np.pad(shades, ((0, 0), (1, 0)), mode="constant"), axis=1, dtype=np.float64)
    blurred = (sums[:, LENGTH:] - sums[:, :-LENGTH]) / LENGTH
    half = LENGTH // 2
    steps = np.abs(np.diff(shades[:, half:-half].astype(np.float64), axis=1))
    lost = np.maximum(0.0, steps - np.abs(np.diff(blurred, axis=1)))
    total = steps.sum()
    return float((total - lost.sum()) / total) if total > 1e-9 else 0.0
