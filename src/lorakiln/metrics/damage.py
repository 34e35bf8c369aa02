"""Whether a picture is damaged: burnt, noisy or mottled beyond what the base's and the training pictures are.

A LoRA at too high a weight, or trained at too high a rate, drives colours to their ends, fills areas with noise, or
smears: the contours break up, and areas that were even are mottled. All show in the pixels, which CLIP at its small
size hardly looks at. Among training pictures a few may be as rough as noise (a chequered background is): three quarters
of them say what is usual, so that pictures like the training pictures stay below the quarter from which `choose` calls
them broken, and noise everywhere does not.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lorakiln.artefacts.pictures import read_picture
from lorakiln.metrics import Metric, MetricInputs
from lorakiln.metrics.coherence import spread
from lorakiln.schema.evaluate import EvaluateSettings

ENDS = 3  # levels of 0 and of 255 that count as an end
BURNT = 0.05  # of the pixels, more than is usual
NOISY = 1.25  # times the noise that is usual
# Times the mottling that is usual. Of seven of the mascot's trainings no picture at weights up to 1 goes beyond it, and
# at weight 2, that spoils them all, 8 to 88%; docs/evaluation.md has the eight that it was not chosen by.
MOTTLED = 1.65
# Below these nobody sees any, however even the others are: white noise of 2.8 levels, mottling of 2.
SEEN_NOISE, SEEN_MOTTLING = 10.0, 2.0
EVEN = 0.1  # of a picture's tiles are its most even ones
USUAL = 0.75  # of the training pictures have no more
TILE = 8  # pixels a side


class Pixels(NamedTuple):
    """What a picture's pixels show.

    Attributes:
        burnt: the share of pixels, 0 to 1, with a channel at an end while another is at the other, or with all at one.
        noise: the median over tiles of the mean absolute Laplacian of the brightness (0 to 255): lines fill few tiles,
            noise all.
        mottling: the standard deviation, in levels of 255, of the colours within a tile, which a tenth of the tiles do
            not exceed: in most pictures that is plain background, sky or wall.
    """

    burnt: float
    noise: float
    mottling: float


class Damage(Metric):
    def of_pictures(self, inputs: MetricInputs) -> list[float | None] | None:
        """1 for a damaged picture, 0 for a whole one."""
        shots = list(zip(inputs.files, inputs.shots, strict=True))
        drawn_by_base = [(file, shot.prompt.index) for file, shot in shots if not shot.weight]
        trained = [inputs.trained[number] for number in spread(len(inputs.trained))]
        if not drawn_by_base and not trained:
            return None
        measured = {file: measure_pixels(file) for file in {*inputs.files, *trained}}
        base: dict[int, list[Pixels]] = defaultdict(list)
        for file, prompt in drawn_by_base:
            base[prompt].append(measured[file])
        all_of_base, references = [one for some in base.values() for one in some], [measured[file] for file in trained]
        usual = {
            prompt: find_usual(all_of_base, references, base[prompt])
            for prompt in {shot.prompt.index for shot in inputs.shots}
        }
        return [float(is_damaged(measured[file], usual[shot.prompt.index])) for file, shot in shots]


def find_usual(base: Sequence[Pixels], trained: Sequence[Pixels], same_prompt: Sequence[Pixels] = ()) -> Pixels:
    """What whole pictures of a prompt have.

    They are as burnt and as noisy as the most of the base's, or as three quarters of the training pictures. Mottling
    is the most of three quarters of either and of the base's of the same prompt, for a lawn is rougher than a wall.

    Args:
        same_prompt: those of the base's.
    """
    quarters = [np.quantile(np.array(some), USUAL, axis=0) for some in (base, trained) if some]
    burnt, noise, _ = np.max([*quarters, *(np.array(one) for one in base)], axis=0)
    mottling = max(SEEN_MOTTLING, *(quarter[2] for quarter in quarters), *(one.mottling for one in same_prompt))
    return Pixels(float(burnt), max(SEEN_NOISE, float(noise)), float(mottling))


def is_damaged(pixels: Pixels, usual: Pixels) -> bool:
    """Whether a picture has clearly more of any than is usual."""
    return (
        pixels.burnt > usual.burnt + BURNT
        or pixels.noise > usual.noise * NOISY
        or pixels.mottling > usual.mottling * MOTTLED
    )


def measure_pixels(file: Path) -> Pixels:
    """How much of a picture is burnt, how noisy it is, and how mottled where it is most even."""
    pixels = np.asarray(read_picture(file).convert("RGB"), dtype=np.float32)
    low, high = pixels.min(axis=-1), pixels.max(axis=-1)
    ended = (low <= ENDS) & (high >= 255 - ENDS) | (low >= 255 - ENDS) | (high <= ENDS)
    grey = pixels @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    noise = np.median(_average_tiles(np.abs(4 * grey[1:-1, 1:-1] - around)))
    variance = _average_tiles(pixels**2) - _average_tiles(pixels) ** 2
    mottling = np.quantile(np.sqrt(np.maximum(variance, 0)).mean(axis=-1), EVEN)
    return Pixels(float(ended.mean()), float(noise), float(mottling))


def _average_tiles(values: np.ndarray) -> np.ndarray:
    """(H, W, ...) -> (rows, columns, ...): the means of tiles of about TILE x TILE pixels, which together are all."""
    values = values.astype(np.float64)  # the mean of squares less the square of the mean takes more than float32
    for axis in (0, 1):
        side = values.shape[axis]
        starts = np.arange(max(1, side // TILE)) * side // max(1, side // TILE)
        sides = np.expand_dims(np.diff([*starts, side]), tuple(range(1, values.ndim - axis)))
        values = np.add.reduceat(values, starts, axis=axis) / sides
    return values


def list_metrics(settings: EvaluateSettings | None) -> Sequence[Metric]:
    return [
        Damage(
            "damage",
            "damaged pictures",
            "burnt, noisy or mottled pixels, clearly beyond the base's and three quarters of the training pictures",
            "other",
            fraction=True,
            better="less",
            place=54,
        )
    ]
