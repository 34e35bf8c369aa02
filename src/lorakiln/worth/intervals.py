"""Means with 95% intervals that know that pictures of one prompt belong together."""

import math
from dataclasses import dataclass

import numpy as np

RESAMPLES = 4000
# Below this many prompts an interval says little, and the report draws no conclusion.
FEWEST_PROMPTS = 5
_Z = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95% interval; `low` and `high` are None where one prompt alone was drawn."""

    mean: float
    low: float | None
    high: float | None
    prompts: int

    def as_dict(self) -> dict[str, float]:
        """Rounded to 6 digits; absent ends left out."""
        ends = {"mean": self.mean, "low": self.low, "high": self.high}
        return {name: round(value, 6) for name, value in ends.items() if value is not None}

    @property
    def enough(self) -> bool:
        return self.prompts >= FEWEST_PROMPTS

    @property
    def rises(self) -> bool:
        """For a difference: the whole interval lies above 0, from enough prompts."""
        return self.enough and self.low is not None and self.low > 0

    @property
    def falls(self) -> bool:
        return self.enough and self.high is not None and self.high < 0


def compute_bootstrap_mean(by_prompt: np.ndarray) -> Estimate:
    """Mean of the prompts' means with a percentile bootstrap over prompts (cluster bootstrap, Field & Welsh 2007).

    A prompt's seeds share the prompt's difficulty, so prompts are drawn, not pictures. The random numbers are
    fixed: equal data gives equal intervals.

    Args:
        by_prompt: (P,) one mean per prompt.
    """
    count = len(by_prompt)
    mean = float(by_prompt.mean())
    if count < 2:
        return Estimate(mean, None, None, count)
    drawn = np.random.default_rng(0).integers(0, count, size=(RESAMPLES, count))
    low, high = np.quantile(by_prompt[drawn].mean(axis=1), [0.025, 0.975])
    return Estimate(mean, float(low), float(high), count)


def compute_wilson_fraction(by_prompt: np.ndarray) -> Estimate:
    """Fraction right with Wilson's interval (1927), each prompt counting as one draw.

    Seeds of one prompt may all be right or wrong together, so P, not P x seeds, is taken as the sample: never too
    narrow, and 0% or 100% keep an honest width, which a bootstrap would not give them.

    Args:
        by_prompt: (P,) the fraction of a prompt's pictures that are right.
    """
    n, p = len(by_prompt), float(by_prompt.mean())
    middle = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    return Estimate(p, max(0.0, middle - half), min(1.0, middle + half), n)
