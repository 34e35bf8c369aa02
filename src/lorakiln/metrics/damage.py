"""Whether a picture is damaged: burnt or noisy beyond what the base's and the training pictures are.

A LoRA at too high a weight, or trained at too high a rate, drives colours to their ends and fills areas with noise;
both show in the pixels, which CLIP at its small size hardly looks at. Among training pictures a few may be as rough as
noise (a chequered background is): three quarters of them say what is usual, so that pictures like the training
pictures stay below the quarter from which `choose` calls them broken, and noise everywhere does not.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lorakiln.artefacts.pictures import read_picture
from lorakiln.metrics import Metric, MetricInputs
from lorakiln.metrics.coherence import spread
from lorakiln.schema.evaluate import EvaluateSettings

ENDS = 3  # levels of 0 and of 255 that count as an end
BURNT = 0.05  # of the pixels, more than is usual
NOISY = 1.25  # times the noise that is usual
USUAL = 0.75  # of the training pictures have no more, and none of the base's


Pixels = tuple[float, float]  # how burnt, how noisy: see `measure_pixels`


class Damage(Metric):
    def of_pictures(self, inputs: MetricInputs) -> list[float | None] | None:
        """1 for a damaged picture, 0 for a whole one."""
        base = [file for file, shot in zip(inputs.files, inputs.shots, strict=True) if not shot.weight]
        trained = [inputs.trained[number] for number in spread(len(inputs.trained))]
        if not base and not trained:
            return None
        measured = {file: measure_pixels(file) for file in {*inputs.files, *trained}}
        usual = find_usual([measured[file] for file in base], [measured[file] for file in trained])
        return [float(is_damaged(measured[file], usual)) for file in inputs.files]


def find_usual(base: Sequence[Pixels], trained: Sequence[Pixels]) -> Pixels:
    """How burnt and how noisy whole pictures are: the most of the base's, or of three quarters of the others."""
    most = [np.max(base, axis=0)] if base else []
    usual = [np.quantile(trained, USUAL, axis=0)] if trained else []
    burnt, noise = np.max([*most, *usual], axis=0)
    return float(burnt), float(noise)


def is_damaged(pixels: Pixels, usual: Pixels) -> bool:
    """Whether a picture has clearly more of either than is usual."""
    return pixels[0] > usual[0] + BURNT or pixels[1] > usual[1] * NOISY


def measure_pixels(file: Path) -> Pixels:
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
            "burnt or noisy in their pixels, clearly beyond the base's and three quarters of the training pictures",
            "other",
            fraction=True,
            better="less",
            place=54,
        )
    ]
