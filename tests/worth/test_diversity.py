"""How much pictures of one prompt vary from seed to seed, beside the base's."""

import pytest

from lorakiln.metrics import Scored
from lorakiln.metrics._cosines import compute_seed_distance
from lorakiln.worth.diversity import estimate_diversity
from tests.metrics.test_copies_damage_bleed import at, make_shots


def scored(degrees, with_trigger=True):
    """Pictures at angles: of each prompt those of its seeds."""
    places = [(prompt, seed, 1.0) for prompt, angles in enumerate(degrees) for seed, _ in enumerate(angles)]
    shots = make_shots(*places, with_trigger=with_trigger)
    embeddings = at(*(angle for angles in degrees for angle in angles))
    return [Scored(shot, embedding, {}) for shot, embedding in zip(shots, embeddings, strict=True)]


def test_as_varied_as_the_base_is_1_and_one_picture_again_and_again_0():
    base = scored([(0, 60), (10, 70)])
    apart = compute_seed_distance({(one.shot.prompt.index, one.shot.seed): one.embedding for one in base})
    assert apart == pytest.approx(0.5)
    same = estimate_diversity(base, apart)
    assert (same.mean, same.low, same.high) == pytest.approx((1, 1, 1))
    assert estimate_diversity(scored([(0, 0), (10, 10)]), apart).mean == pytest.approx(0)
    # One prompt varies as the base does, the other not at all.
    half = estimate_diversity(scored([(0, 60), (10, 10)]), apart)
    assert half.mean == pytest.approx(0.5) and (half.low, half.high) == pytest.approx((0, 1))
    assert half.prompts == 2


def test_of_three_seeds_all_pairs_count():
    # 90, 90 and 0 degrees apart: (1 + 1 + 0) / 3.
    assert estimate_diversity(scored([(0, 90, 90)]), 1.0).mean == pytest.approx(2 / 3)


def test_it_is_not_known_of_one_seed_or_without_the_base_s():
    assert estimate_diversity(scored([(0,), (60,)]), 0.5) is None
    assert estimate_diversity(scored([(0, 60)]), None) is None and estimate_diversity(scored([(0, 60)]), 0.0) is None
    both = [*scored([(0, 60)]), *scored([(0, 10, 20)], with_trigger=False)]
    assert estimate_diversity(both, 0.5).mean == pytest.approx(1)
