"""What is measured of a LoRA's pictures, and what they are worth by it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lorakiln.metrics.coherence import AGREE
from lorakiln.worth.intervals import RESAMPLES, Estimate


@dataclass(frozen=True)
class Measures:
    """What is measured of a candidate's pictures, a number a prompt, (P,) each; NaN where there is none.

    Attributes:
        learned: the share of the way from the base to the training pictures, or of the pictures in which CLIP sees the
            answer that `evaluate.classify` looks for; 1: all of it.
        detail: the share of the way from the base to the training pictures in their details, patch by patch.
        followed: how well the prompt is followed; more is better, in a unit of its own.
        agreeing: how far its seeds agree, from the base's pictures of different prompts (0) to equal ones (1).
        copies, damaged: the share of its pictures that are.
        moved: how far its pictures are from the base's of the same prompt and seed; 1: as far as another seed's.
    """

    learned: np.ndarray
    detail: np.ndarray
    followed: np.ndarray
    agreeing: np.ndarray
    copies: np.ndarray
    damaged: np.ndarray
    moved: np.ndarray

    @property
    def prompts(self) -> int:
        return len(self.learned)


@dataclass(frozen=True)
class Factors:
    """What the worth is the product of, each 0 to 1."""

    learned: float
    detail: float
    followed: float
    agreement: float
    whole: float

    @property
    def worth(self) -> float:
        return self.learned * self.detail * self.followed * self.agreement * self.whole


def weigh(measures: Measures, most_followed: float, rows: np.ndarray | slice = slice(None)) -> Factors:
    """What some of the prompts say of a candidate.

    A product, since one does not stand for another: the subject in every picture is worth nothing where no prompt is
    followed, and the other way round.

    Args:
        most_followed: what counts as following the prompt wholly, in the unit of `Measures.followed`.
        rows: of the prompts.
    """
    followed = _mean(measures.followed[rows], most_followed) / most_followed if most_followed > 0 else 1.0
    return Factors(
        learned=min(1.0, max(0.0, _mean(measures.learned[rows], 0.0))),
        detail=min(1.0, max(0.0, _mean(measures.detail[rows], 1.0))),
        followed=min(1.0, max(0.0, followed)),
        agreement=_mean(np.clip(measures.agreeing[rows] / AGREE, 0, 1), 1.0),
        whole=1 - _mean(measures.damaged[rows], 0.0),
    )


def _mean(values: np.ndarray, unknown: float) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else unknown


def estimate(value: Callable[[np.ndarray | slice], float], prompts: int) -> Estimate:
    """`value` of all prompts, with its 95% interval: bootstrapped over prompts, the same ones for whatever is compared.

    Args:
        value: of some prompts' rows, drawn with replacement.
    """
    mean = value(slice(None))
    if prompts < 2:
        return Estimate(mean, None, None, prompts)
    drawn = np.random.default_rng(0).integers(0, prompts, size=(RESAMPLES // 4, prompts))
    low, high = np.quantile([value(rows) for rows in drawn], [0.025, 0.975])
    return Estimate(mean, float(low), float(high), prompts)


def compare(first: Measures, second: Measures, most_followed: float) -> Estimate:
    """How much more `first` is worth than `second`, on the prompts that both were drawn with."""
    count = min(first.prompts, second.prompts)

    def difference(rows: np.ndarray | slice) -> float:
        rows = slice(count) if isinstance(rows, slice) else rows
        return weigh(first, most_followed, rows).worth - weigh(second, most_followed, rows).worth

    return estimate(difference, count)
