"""Where a draw's decisions come from: a random generator, or a walk through all of them."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Protocol

import numpy as np


class Chance(Protocol):
    """Makes decisions; each is asked for once."""

    def choose(self, weights: Sequence[float]) -> int:
        """One of len(weights), each as often as its weight says.

        Args:
            weights: not negative, any sum above 0.
        """


class RandomChance:
    """Decisions by a generator: one number, uniform in [0, 1), for each."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def choose(self, weights: Sequence[float]) -> int:
        sums = list(accumulate(weights))
        # Rounding may let the product be the sum itself.
        return min(bisect_right(sums, self.rng.random() * sums[-1]), _last(weights))


class FirstChance:
    """Always the first: nothing is left to chance."""

    def choose(self, weights: Sequence[float]) -> int:
        return 0


class Walk:
    """All decisions that a function may make, one after the other:

        for chance in Walk():
            result = function(chance)
            ...  # which comes with probability chance.share

    Decisions of weight 0 are left out.
    """

    def __init__(self) -> None:
        self._path: list[tuple[int, list[float]]] = []
        self._at, self.share = 0, 1.0

    def __iter__(self) -> Iterator["Walk"]:
        while True:
            self._at, self.share = 0, 1.0
            yield self
            while self._path and self._path[-1][0] == _last(self._path[-1][1]):
                self._path.pop()
            if not self._path:
                return
            taken, weights = self._path[-1]
            self._path[-1] = (_next(weights, taken + 1), weights)

    def choose(self, weights: Sequence[float]) -> int:
        if self._at == len(self._path):
            self._path.append((_next(weights, 0), list(weights)))
        taken, known = self._path[self._at]
        self._at += 1
        self.share *= known[taken] / sum(known)
        return taken


def _next(weights: Sequence[float], begin: int) -> int:
    return next(number for number in range(begin, len(weights)) if weights[number] > 0)


def _last(weights: Sequence[float]) -> int:
    return next(number for number in reversed(range(len(weights))) if weights[number] > 0)
