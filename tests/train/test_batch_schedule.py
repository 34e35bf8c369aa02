import itertools
from collections import Counter

import numpy as np
import pytest

from lorakiln.train.batch_schedule import BatchSchedule, order_buckets

SHAPES = [
    ([1], 1),
    ([5], 4),
    ([3], 8),
    ([12, 12], 4),
    ([7, 5, 3], 4),
    ([90, 1, 1, 1, 1, 1, 1, 1, 1, 1], 4),
    ([10, 0, 6], 3),
    ([1, 2, 3, 4, 5, 6, 7], 2),
    ([24, 2, 9, 9, 31], 16),
    ([1, 1000], 4),
]


@pytest.mark.parametrize(("sizes", "batch"), SHAPES)
@pytest.mark.parametrize("seed", [0, 7])
def test_no_picture_is_ever_away_from_its_fair_share_by_more_than_the_law(sizes, batch, seed):
    schedule, counts = BatchSchedule(sizes, batch, 1, seed), [np.zeros(size) for size in sizes]
    steps = np.zeros(len(sizes))
    for k in range(1, 2 * schedule.period + 3):
        samples = schedule(k - 1)
        np.add.at(counts[samples.bucket], samples.pictures, 1)
        steps[samples.bucket] += 1
        for bucket, size in enumerate(sizes):
            # Tijdeman: every bucket's number of steps is less than one from its share.
            assert abs(steps[bucket] - k * size / sum(sizes)) < 1
            if size:
                off = np.abs(counts[bucket] - k * batch / sum(sizes)).max()
                assert off < 1 + batch / size


@pytest.mark.parametrize(("sizes", "batch"), SHAPES)
def test_after_a_period_exposure_is_equal(sizes, batch):
    schedule = BatchSchedule(sizes, batch, 1, 3)
    counts = Counter()
    for step in range(schedule.period):
        samples = schedule(step)
        counts.update((samples.bucket, picture) for picture in samples.pictures.tolist())
    fair = schedule.period * batch / sum(sizes)
    for bucket, size in enumerate(sizes):
        for picture in range(size):
            assert abs(counts[bucket, picture] - fair) < 1


def test_an_epoch_of_a_bucket_holds_every_picture_once_and_its_remainder_begins_the_next():
    schedule = BatchSchedule([10], 4, 1, 0)
    stream = np.concatenate([schedule(step).pictures for step in range(10)])
    for epoch in range(4):
        assert sorted(stream[10 * epoch : 10 * epoch + 10].tolist()) == list(range(10))
    assert stream[:10].tolist() != stream[10:20].tolist()


def test_a_picture_goes_through_its_variants_in_turn():
    schedule = BatchSchedule([6], 4, 2, 0)
    seen = [[] for _ in range(6)]
    for step in range(12):
        samples = schedule(step)
        for picture, variant in zip(samples.pictures.tolist(), samples.variants.tolist(), strict=True):
            seen[picture].append(variant)
    for variants in seen:
        assert len(variants) == 8
        assert all(a != b for a, b in itertools.pairwise(variants))
    assert {variants[0] for variants in seen} == {0, 1}


def test_a_step_is_a_function_of_the_seed_and_the_step_alone():
    first, second, other = (BatchSchedule([7, 5], 4, 2, seed) for seed in (1, 1, 2))
    backwards = [second(step) for step in reversed(range(50))][::-1]
    same = True
    for step in range(50):
        a, b = first(step), backwards[step]
        assert a.bucket == b.bucket
        assert np.array_equal(a.pictures, b.pictures)
        assert np.array_equal(a.variants, b.variants)
        same &= a.bucket == other(step).bucket and np.array_equal(a.pictures, other(step).pictures)
    assert not same


def test_far_steps_cost_no_more_than_near_ones():
    assert BatchSchedule([7, 5], 4, 1, 0)(10**12).pictures.shape == (4,)


def test_buckets_alternate_by_their_sizes():
    assert order_buckets([2, 1], [0, 1]) in ([0, 1, 0], [0, 0, 1])
    assert order_buckets([1, 1], [1, 0]) == [1, 0]
    assert Counter(order_buckets([100_000, 50_000, 1], [0, 1, 2])) == {0: 100_000, 1: 50_000, 2: 1}


def test_no_pictures_is_an_error():
    with pytest.raises(ValueError, match="at least one picture"):
        BatchSchedule([0, 0], 4, 1, 0)


OWN = [[2] * 6 + [None] * 6, [3] * 5, [None] * 4]


def test_pictures_with_a_batch_of_their_own_come_in_it_and_as_often_as_the_others():
    schedule, sizes = BatchSchedule([12, 5, 4], 4, 1, 3, OWN), [12, 5, 4]
    counts, seen = Counter(), 0
    for step in range(schedule.period):
        samples = schedule(step)
        batches = {OWN[samples.bucket][picture] for picture in samples.pictures.tolist()}
        assert len(batches) == 1 and len(samples) == (batches.pop() or 4)
        assert samples.first == seen == schedule.count_seen(step)
        seen += len(samples)
        counts.update((samples.bucket, picture) for picture in samples.pictures.tolist())
    assert len(counts) == sum(sizes) and max(counts.values()) - min(counts.values()) <= 1
    # 6 / 2 + 6 / 4 + 5 / 3 + 4 / 4 steps are an epoch.
    assert schedule.period * 6 == pytest.approx(43 * seen / 21, abs=6)
    assert schedule(schedule.period + 7).first == seen + schedule(7).first


def test_without_batches_of_their_own_nothing_is_another():
    plain, told = BatchSchedule([7, 0, 5], 4, 2, 1), BatchSchedule([7, 0, 5], 4, 2, 1, [[None] * 7, [], [4] * 5])
    for step in range(30):
        one, other = plain(step), told(step)
        assert one.bucket == other.bucket and np.array_equal(one.pictures, other.pictures)
        assert np.array_equal(one.variants, other.variants) and one.first == other.first == 4 * step
