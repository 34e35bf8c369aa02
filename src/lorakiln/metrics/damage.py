"""Whether a picture is damaged: burnt or noisy beyond what the base's and the training pictures are.

A LoRA at too high a weight, or trained at too high a rate, drives colours to their ends and fills areas with noise;
both show in the pixels, which CLIP at its small size hardly looks at.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lorakiln.artefacts.pictures import read_picture
from lorakiln.metrics import Material, Metric
from lorakiln.metrics.coherence import spread
from lorakiln.schema.evaluate import EvaluateSettings

ENDS = 3  # levels of 0 and of 255 that count as an end
BURNT = 0.05  # of the pixels, more than the worst of the others has
NOISY = 1.25  # times the noise of the noisiest of the others


class Damage(Metric):
    def of_pictures(self, material: Material) -> list[float | None] | None:
        """1 for a damaged picture, 0 for a whole one."""
        base = [file for file, shot in zip(material.files, material.shots, strict=True) if not shot.weight]
        known = [*base, *(material.trained[number] for number in spread(len(material.trained)))]
        if not known:
            return None
        measured = {file: measure_pixels(file) for file in {*material.files, *known}}
        burnt, noise = np.array([measured[file] for file in known]).max(axis=0)
        return [float(is_damaged(*measured[file], burnt, noise)) for file in material.files]


def is_damaged(burnt: float, noise: float, most_burnt: float, most_noise: float) -> bool:
    """Whether a picture has clearly more of either than the worst of the others."""
    return burnt > most_burnt + BURNT or noise > most_noise * NOISY


def measure_pixels(file: Path) -> tuple[float, float]:
    """How much of a picture is burnt, and how noisy it is.

    Returns:
        The share of pixels, 0 to 1, with a channel at an end while another is at the other, or with all at one end; and
        the median over 8 x 8 tiles of the mean absolute Laplacian of the brightness (0 to 255): lines fill few tiles,
        noise all.
    """
    pixels = np.asarray(read_picture(file).convert("RGB"), dtype=np.float32)
    low, high = pixels.min(axis=-1), pixels.max(axis=-1)
    ended = (low <= ENDS) & (high >= 255 - ENDS) | (low >= 255 - ENDS) | (high <= ENDS)
    grey = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    rough = np.abs(4 * grey[1:-1, 1:-1] - around)
    rows, columns = (max(1, side // 8) for side in rough.shape)
    tiles = [part.mean() for row in np.array_split(rough, rows) for part in np.array_split(row, columns, axis=1)]
    return float(ended.mean()), float(np.median(tiles))


def list_metrics(settings: EvaluateSettings | None) -> Sequence[Metric]:
    return [
        Damage(
            "damage",
            "damaged pictures",
            "burnt or noisy in their pixels, clearly beyond any of the base's and of the training pictures",
            "other",
            fraction=True,
            better="less",
            place=54,
        )
    ]
