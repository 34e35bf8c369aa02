"""Likeness patch by patch."""

import numpy as np
import pytest

from lorakiln.metrics import MetricInputs
from lorakiln.metrics.detail_similarity import DetailSimilarity
from tests.metrics.test_copies_damage_bleed import at, make_shots


@pytest.fixture
def metric():
    return DetailSimilarity("detail_similarity", "x", "x", "other")


def make_inputs(drawn, trained):
    """Pictures by name, each its patches' angles."""
    known = {**drawn, **trained}
    shots = make_shots(*[(0, seed, 1.0) for seed in range(len(drawn))])
    empty = np.zeros((len(drawn), 2))

    def embed_parts(files):
        return np.stack([at(*known[file]) for file in files])

    return MetricInputs(shots, empty, empty, None, list(drawn), list(trained), None, embed_parts)


def test_each_patch_finds_the_nearest_one_wherever_it_stands(metric):
    trained = {"a": (0, 90), "b": (180, 270)}
    # The same parts in other places, from both pictures: alike in all. One part that none has: 45 degrees off.
    inputs = make_inputs({"moved": (270, 0), "strange": (0, 45)}, trained)
    assert metric.of_pictures(inputs) == pytest.approx([1.0, (1 + np.cos(np.radians(45))) / 2])


def test_the_training_pictures_are_compared_with_the_others(metric):
    inputs = make_inputs({}, {"a": (0, 90), "b": (30, 90), "c": (0, 60)})
    expected = np.mean([1, (np.cos(np.radians(30)) + 1) / 2, (1 + np.cos(np.radians(30))) / 2])
    assert metric.of_training_pictures(inputs) == pytest.approx(expected)
    assert metric.of_training_pictures(make_inputs({}, {"a": (0, 90)})) is None


def test_many_pictures_are_looked_at_some_at_a_time(metric):
    asked = []
    inputs = make_inputs({f"{n}": (n, n) for n in range(150)}, {"a": (0, 0)})
    looked = inputs.embed_parts
    object.__setattr__(inputs, "embed_parts", lambda files: (asked.append(len(files)), looked(files))[1])
    assert metric.of_pictures(inputs) == pytest.approx(np.cos(np.radians(range(150))))
    assert asked == [1, 64, 64, 22]
