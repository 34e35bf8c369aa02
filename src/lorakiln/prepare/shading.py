"""Whether pictures are shaded, as photographs and paintings are, or flat, as most drawings are."""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from PIL.Image import Resampling

SIDE = 128  # pixels: larger pictures are averaged down to it, which takes the noise of sensors and of JPEG away
GENTLE = (3, 20)  # of 255: a step between neighbours that is neither a flat area's nor an outline's
# Of 43 emoji and drawings of a mascot the share is 0.16 at most; of 24 photographs (DreamBooth's, scikit-image's) 0.22
# at least, where the backdrop is a studio's or a wall.
SHADED = 0.2


def measure_shading(image: Image.Image) -> float:
    """The share of neighbouring pixels that differ gently, 0 to 1, in the picture at 128 pixels.

    Args:
        image: RGB; a difference is that of the channel that differs most.
    """
    scale = SIDE / max(image.size)
    if scale < 1:
        size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
        image = image.resize(size, Resampling.BOX)
    pixels = np.asarray(image.convert("RGB"), dtype=np.int16)
    steps = np.concatenate([np.abs(np.diff(pixels, axis=axis)).max(axis=2).ravel() for axis in (0, 1)])
    low, high = GENTLE
    return float(((steps >= low) & (steps <= high)).mean()) if steps.size else 0.0


def describe_unsuited_pictures(shadings: Sequence[float], domain: str) -> str | None:
    """A sentence if the model knows flat drawings alone and most of the pictures are shaded; else None.

    Args:
        shadings: of each picture, as `measure_shading` gives it.
        domain: the model's, "any" or "drawings".
    """
    shaded = sum(shading > SHADED for shading in shadings)
    if domain != "drawings" or 2 * shaded <= len(shadings):
        return None
    return (
        f"{shaded} of {len(shadings)} pictures are shaded like photographs, and this model knows flat drawings alone: "
        "its base cannot draw them, its captioner misnames what they show, and its CLIP cannot judge them. Take a base "
        "that knows photographs: add model=sd15 to the command, or to `overrides` in params.yaml."
    )
