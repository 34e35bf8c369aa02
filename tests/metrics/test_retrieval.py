"""Whether a drawn picture finds the training pictures among the base's."""

import numpy as np
import pytest

from lorakiln.metrics import MetricInputs
from lorakiln.metrics.retrieval import Retrieval, compute_average_precision
from tests.metrics.test_copies_damage_bleed import at, make_shots


@pytest.fixture
def retrieval():
    return Retrieval("retrieval", "x", "x", "other")


def make_inputs(base, drawn, references):
    """Pictures at angles: the base's at weight 0, a LoRA's at 1, the training pictures."""
    shots = make_shots(*[(0, n, 0.0) for n in range(len(base))], *[(0, n, 1.0) for n in range(len(drawn))])
    return MetricInputs(shots, at(*base, *drawn), at(*references), None, (), (), None, None)


@pytest.mark.parametrize(
    ("wanted", "others", "precision"),
    [
        ([0.9, 0.8], [0.1, 0.2, 0.3], 1),
        # Places 2 and 4: (1/2 + 2/4) / 2.
        ([0.8, 0.6], [0.9, 0.7], 1 / 2),
        # Places 1 and 3: (1/1 + 2/3) / 2.
        ([0.9, 0.7], [0.8, 0.1], 5 / 6),
        ([0.1], [0.2, 0.3, 0.4], 1 / 4),
        # Of equal ones the others come first: nothing is found by chance.
        ([0.5, 0.5], [0.5, 0.5], 1 / 2),
        ([0.5], [], 1),
    ],
)
def test_average_precision(wanted, others, precision):
    assert compute_average_precision(np.array(wanted), np.array(others)) == pytest.approx(precision)


def test_it_is_that_of_a_reference_implementation():
    draws = np.random.default_rng(0)
    wanted, others = draws.normal(0.3, 1, 20), draws.normal(0, 1, 50)
    ranked = sorted([(-one, True) for one in wanted] + [(-one, False) for one in others])
    hits, sums = 0, 0.0
    for place, (_, is_wanted) in enumerate(ranked, 1):
        hits += is_wanted
        sums += hits / place if is_wanted else 0
    assert compute_average_precision(wanted, others) == pytest.approx(sums / 20)


def test_a_picture_of_the_class_finds_nothing_however_like_it_is(retrieval):
    # At 26 degrees a picture is nearer to the subject, at 0 and 5, than one of the base's, and finds the base's first.
    inputs = make_inputs(base=(20, 45), drawn=(0, 26), references=(0, 5))
    found = retrieval.of_pictures(inputs)
    assert found[2:] == pytest.approx([1, (1 / 3 + 2 / 4) / 2])
    # The base's own pictures do not find themselves.
    assert found[:2] == pytest.approx([1, (1 / 2 + 2 / 3) / 2])


def test_the_ceiling_is_what_the_training_pictures_find(retrieval):
    # From 0: the other is at 10, the base's at 8 and 50. From 10: the base's at 8 comes first, too.
    inputs = make_inputs(base=(8, 50), drawn=(0,), references=(0, 10))
    assert retrieval.of_training_pictures(inputs) == pytest.approx(1 / 2)


def test_without_the_base_or_training_pictures_there_is_none(retrieval):
    alone = make_inputs(base=(), drawn=(0,), references=(0, 10))
    assert retrieval.of_pictures(alone) is None and retrieval.of_training_pictures(alone) is None
    assert retrieval.of_training_pictures(make_inputs(base=(8,), drawn=(0,), references=(0,))) is None


def test_pictures_without_the_trigger_words_are_no_distractors(retrieval):
    shots = [*make_shots((0, 0, 0.0)), *make_shots((0, 0, 0.0), (0, 0, 1.0), with_trigger=False)]
    inputs = MetricInputs(shots, at(40, 1, 2), at(0), None, (), (), None, None)
    assert retrieval.of_pictures(inputs) == [1, 1, 1]
