"""How far pictures without the trigger words move, and which state that makes."""

import numpy as np
import pytest

from lorakiln.metrics import Prompt, Scored, Shot
from lorakiln.worth.assessment import assess
from lorakiln.worth.bleed import add_bleed, estimate_bleed
from lorakiln.worth.intervals import Estimate
from tests.worth.test_measures import make_measures


def score(prompt, seed, value):
    shot = Shot(Prompt(prompt, "sks cat", "cat"), value is None, seed, 1.0, 64, 64, "key")
    return Scored(shot, np.zeros(4), {"bleed": value})


def test_prompts_weigh_alike_however_many_pictures_they_have():
    scored = [score(0, 0, 0.2), score(0, 1, 0.4), score(0, 2, 0.6), score(1, 0, 0.8), score(2, 0, None)]
    found = estimate_bleed(scored)
    assert found.mean == pytest.approx((0.4 + 0.8) / 2) and found.prompts == 2
    assert found.low == pytest.approx(0.4) and found.high == pytest.approx(0.8)
    assert estimate_bleed([score(0, 0, None)]) is None


@pytest.mark.parametrize(
    ("learned", "mean", "state"),
    [(0.9, 0.5, "bled"), (0.9, 0.49, "good"), (0.3, 0.9, "underfitted"), (0.9, None, "good")],
)
def test_from_half_of_the_way_to_another_seed_a_good_one_has_bled(learned, mean, state):
    base = make_measures(0.0)
    found = add_bleed(assess(1, make_measures(learned), base, 1.0), None if mean is None else Estimate(mean, 0, 1, 4))
    assert found.state == state and (found.bleed.mean if found.bleed else None) == mean and found.usable
