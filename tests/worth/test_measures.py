"""What a LoRA's pictures are worth, and how far that can be told."""

import numpy as np
import pytest

from lorakiln.metrics.coherence import AGREE
from lorakiln.worth.measures import Measures, compare, weigh


def make_measures(learned, followed=1.0, agreeing=1.0, copies=0.0, damaged=0.0, prompts=12, detail=1.0, moved=0.5):
    columns = (learned, detail, followed, agreeing, copies, damaged, moved)
    return Measures(*(np.broadcast_to(np.asarray(one, float), prompts).copy() for one in columns))


def test_the_worth_is_the_product_of_what_is_learned_followed_agreed_on_and_whole():
    factors = weigh(make_measures(0.8, 0.3, AGREE / 2, damaged=0.25, detail=0.9), most_followed=0.6)
    assert factors.learned == pytest.approx(0.8) and factors.followed == pytest.approx(0.5)
    assert factors.agreement == pytest.approx(0.5) and factors.whole == pytest.approx(0.75)
    assert factors.worth == pytest.approx(0.8 * 0.9 * 0.5 * 0.5 * 0.75)


@pytest.mark.parametrize(
    ("measures", "worth"),
    [
        (make_measures(1.7), 1.0),  # more like the training pictures than they are themselves
        (make_measures(-0.2), 0.0),  # away from them
        (make_measures(0.5, -0.1), 0.0),  # fits other prompts better than its own
        (make_measures(0.5, np.nan), 0.5),  # one prompt alone: nothing to tell it from
        (make_measures(0.5, agreeing=np.nan), 0.5),  # one seed
        (make_measures(0.5, detail=np.nan), 0.5),
        (make_measures(np.nan), 0.0),  # one training picture: how far it goes cannot be told
    ],
)
def test_each_part_is_a_share_and_what_cannot_be_told_takes_nothing_off(measures, worth):
    assert weigh(measures, most_followed=1.0).worth == pytest.approx(worth)


def test_a_difference_is_clear_only_where_the_prompts_agree_on_it():
    noise = np.random.default_rng(1).normal(0, 0.2, 24)
    one = make_measures(0.6 + noise, prompts=24)
    # The same prompts are hard for both: paired, a small difference is clear.
    assert compare(make_measures(0.65 + noise, prompts=24), one, 1.0).rises
    other = np.random.default_rng(2).normal(0, 0.2, 24)
    unpaired = compare(make_measures(0.65 + other, prompts=24), one, 1.0)
    assert unpaired.low < 0 < unpaired.high


def test_what_was_drawn_with_fewer_prompts_is_compared_on_those():
    many = make_measures(np.r_[np.full(6, 0.9), np.zeros(6)])
    assert compare(many, make_measures(0.5, prompts=6), 1.0).mean == pytest.approx(0.4)
