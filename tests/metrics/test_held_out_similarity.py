"""Likeness to pictures that were kept out of the training, apart from those that were trained on."""

import numpy as np
import pytest

from lorakiln.metrics import MetricInputs
from lorakiln.metrics.held_out_similarity import HeldOutSimilarity
from lorakiln.metrics.image_similarity import ImageSimilarity
from tests.metrics.test_copies_damage_bleed import at, make_shots


def make_inputs(drawn, references, held_out):
    shots = make_shots(*[(0, seed, 1.0) for seed in range(len(drawn))])
    return MetricInputs(shots, at(*drawn), at(*references), None, (), (), None, None, frozenset(held_out))


@pytest.fixture
def held_out():
    return HeldOutSimilarity("held_out_similarity", "x", "x", "other")


@pytest.fixture
def trained():
    return ImageSimilarity("image_similarity", "x", "x", "learned")


def cos(*degrees):
    return np.mean(np.cos(np.radians(degrees)))


def test_a_memorised_picture_is_like_what_was_trained_on_and_not_like_what_was_held_out(held_out, trained):
    inputs = make_inputs(drawn=(0, 45), references=(0, 10, 90), held_out={2})
    assert trained.of_pictures(inputs) == pytest.approx([cos(0, 10, 90), cos(45, 35, 45)])
    assert held_out.of_pictures(inputs) == pytest.approx([0, cos(45)], abs=1e-12)


def test_the_ceiling_is_what_another_picture_of_the_subject_has(held_out, trained):
    inputs = make_inputs(drawn=(0,), references=(0, 10, 90, 60), held_out={2, 3})
    assert trained.of_training_pictures(inputs) == pytest.approx(cos(10, 90, 60, 80, 50, 30))
    assert held_out.of_training_pictures(inputs) == pytest.approx(cos(90, 60, 80, 50))


def test_where_nothing_was_held_out_there_is_none(held_out):
    inputs = make_inputs(drawn=(0,), references=(0, 10), held_out=())
    assert held_out.of_pictures(inputs) is None and held_out.of_training_pictures(inputs) is None
