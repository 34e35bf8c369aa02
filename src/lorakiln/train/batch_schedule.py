"""Which pictures each step trains on: a pure function of (seed, step).

One bucket a step, because a batch is one tensor. Let n_b be the pictures of bucket b, N their sum over all
buckets, G the global batch. Pictures of a bucket whose dataset has a batch of its own, G_b, are a bucket by themselves
here; n_b / G_b then stands for n_b, so that all pictures are seen equally often. Two rules make up the schedule:

1. Which bucket. Bucket b deserves the share n_b / N of the steps. R. Tijdeman's rule ("The chairman assignment
   problem", Discrete Mathematics 32, 1980) keeps every bucket's count after any number k of steps less than one
   away from k n_b / N, and repeats after P = N / gcd(n_1, n_2, ...) steps.
2. Which pictures. A bucket's pictures form an endless stream: permutation after permutation, each with its own
   seed. A visit takes the next G of the stream, so what is left of one epoch begins the next visit's batch.

Hence the law: after k steps no picture's count differs from its fair share k G / N by 1 + G / n_b or more, and
after P steps every picture has been drawn G P / N times, to within one.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_PICTURES, _VARIANTS, _TIES = 1, 2, 3


@dataclass(frozen=True)
class GlobalBatch:
    """One global batch.

    Attributes:
        bucket: the bucket's position in the list that the schedule was made from.
        pictures: (G,) positions among that bucket's pictures.
        variants: (G,) which variant of each picture.
        first: pictures that all steps before have shown.
    """

    bucket: int
    pictures: np.ndarray
    variants: np.ndarray
    first: int = 0

    def __len__(self) -> int:
        return len(self.pictures)


@dataclass(frozen=True)
class _Group:
    """Pictures of one bucket that come in batches of one size: their places in it."""

    bucket: int
    members: np.ndarray
    batch: int


class BatchSchedule:
    """The samples of every step.

    Args:
        sizes: pictures in each bucket; a bucket may be empty, not all of them.
        batch: G, pictures of a global batch, where `own` says nothing else.
        variants: V, variants of each picture; a picture goes through its variants in turn, so that all of them
            are seen equally often.
        seed: in [0, 2**32).
        own: by bucket each picture's own batch, None for those that have none; (): none has.

    Raises:
        ValueError: there is no picture.
    """

    def __init__(
        self, sizes: Sequence[int], batch: int, variants: int, seed: int, own: Sequence[Sequence[int | None]] = ()
    ) -> None:
        if sum(sizes) < 1:
            raise ValueError("a schedule needs at least one picture")
        self.groups = _group(sizes, batch, own)
        self.sizes = tuple(len(group.members) for group in self.groups)
        self.batches = np.array([group.batch for group in self.groups], dtype=np.int64)
        self.variants, self.seed = variants, seed
        ties = np.random.default_rng([seed, _TIES]).permutation(len(self.sizes)).tolist()
        common = math.lcm(*{group.batch for group in self.groups if len(group.members)})
        visits = [len(group.members) * common // group.batch for group in self.groups]
        self.order = np.array(order_buckets(visits, ties), dtype=np.int64)
        self.period = len(self.order)
        self.visits = np.bincount(self.order, minlength=len(self.sizes))
        # How often each step's bucket came before, within the period; and how many pictures.
        self.earlier = np.empty(self.period, dtype=np.int64)
        for bucket in range(len(self.sizes)):
            at = np.flatnonzero(self.order == bucket)
            self.earlier[at] = np.arange(len(at))
        self.seen = np.concatenate([[0], np.cumsum(self.batches[self.order])])
        self._permutation = lru_cache(maxsize=4 * len(self.sizes))(self._shuffled)

    def __call__(self, step: int) -> GlobalBatch:
        """The samples of step 0, 1, 2, ..."""
        period, place = divmod(step, self.period)
        bucket = int(self.order[place])
        group = self.groups[bucket]
        visit = period * int(self.visits[bucket]) + int(self.earlier[place])
        stream = np.arange(visit * group.batch, (visit + 1) * group.batch)
        epochs, places = np.divmod(stream, self.sizes[bucket])
        pictures = np.empty_like(stream)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            here = epochs == epoch
            pictures[here] = self._permutation(bucket, epoch)[places[here]]
        variants = self._variants_of(bucket, epochs, pictures)
        return GlobalBatch(group.bucket, group.members[pictures], variants, self.count_seen(step))

    def count_seen(self, step: int) -> int:
        """The pictures that the first `step` steps show."""
        period, place = divmod(step, self.period)
        return period * int(self.seen[-1]) + int(self.seen[place])

    def _shuffled(self, bucket: int, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, _PICTURES, bucket, epoch]).permutation(self.sizes[bucket])

    def _variants_of(self, bucket: int, epochs: np.ndarray, pictures: np.ndarray) -> np.ndarray:
        if self.variants == 1:
            return np.zeros_like(pictures)
        first = np.random.default_rng([self.seed, _VARIANTS, bucket]).integers(self.variants, size=self.sizes[bucket])
        return (first[pictures] + epochs) % self.variants


def _group(sizes: Sequence[int], batch: int, own: Sequence[Sequence[int | None]]) -> list[_Group]:
    """In the buckets' order, then from small batches to large ones; an empty bucket is a group too."""
    groups = []
    for bucket, size in enumerate(sizes):
        batches = np.array([batch if one is None else one for one in own[bucket]] if own else [batch] * size)
        kinds = np.unique(batches).tolist() or [batch]
        groups += [_Group(bucket, np.flatnonzero(batches == kind), int(kind)) for kind in kinds]
    return groups


def order_buckets(sizes: Sequence[int], ties: Sequence[int]) -> list[int]:
    """The bucket of each step of one period, by Tijdeman's rule.

    With B buckets and d = 1 / (2B - 2): a bucket visited c times may be visited again once
    k n_b / N >= c + d, and must be by the time k n_b / N = c + 1 - d; the most urgent of those that may goes
    first. All comparisons are between integers.

    Args:
        sizes: n_b.
        ties: a bucket's rank among equally urgent ones.
    """
    filled = [bucket for bucket, size in enumerate(sizes) if size]
    if len(filled) == 1:
        return filled
    total, double = sum(sizes), 2 * len(filled) - 2
    waiting = [(1, bucket, 0) for bucket in filled]
    ready: list[tuple[int, int, int, int]] = []
    order: list[int] = []
    for step in range(1, total // math.gcd(*sizes) + 1):
        while waiting and waiting[0][0] <= step:
            _, bucket, count = heapq.heappop(waiting)
            deadline = (count * double + double - 1) * total // (sizes[bucket] * double)
            heapq.heappush(ready, (deadline, ties[bucket], bucket, count))
        _, _, bucket, count = heapq.heappop(ready)
        order.append(bucket)
        release = -(-((count + 1) * double + 1) * total // (sizes[bucket] * double))
        heapq.heappush(waiting, (release, bucket, count + 1))
    return order
