"""The classifier of the mascot's parts: what it learns from, and what it says."""

import random

import numpy as np
import pytest
import torch

from recipes.tiny import mascot, parts_classifier
from recipes.tiny.parts_classifier import PartsClassifier, Prediction


def predict(pose="waving", colour="red", **parts) -> Prediction:
    return Prediction(dict.fromkeys(mascot.PARTS, 0.9) | parts, pose, colour)


def test_a_rendering_says_what_is_in_it():
    rng = random.Random(0)
    examples = [parts_classifier.render_mascot(rng) for _ in range(40)]
    assert {all(one.parts) for one in examples} == {True, False}
    assert {one.pose for one in examples} == set(range(len(mascot.POSES)))
    assert all(one.pixels.shape == (64, 64, 3) and one.pixels.dtype == np.uint8 for one in examples)


def test_pieces_are_no_mascot_but_have_its_colours():
    rng = random.Random(1)
    whole = parts_classifier.render_mascot(rng).pixels
    moved = [parts_classifier._scramble(whole, random.Random(seed)) for seed in range(8)]
    assert all((one != whole).any() and one.shape == whole.shape for one in moved)
    assert all(np.abs(one.mean(axis=(0, 1)) - whole.mean(axis=(0, 1))).max() < 4 for one in moved)


def test_a_character_needs_face_cap_and_limbs():
    assert predict().shown and predict(chimney=0.1).shown
    for part in parts_classifier.NEEDED:
        assert not predict(**{part: 0.4}).shown


def test_shares_are_of_what_the_prompts_ask_for():
    prompts = ["a kilnling waving red background", "a kilnling sitting red background", "a kilnling blue background"]
    found = parts_classifier.summarise(prompts, [predict(), predict(cap=0.2), predict(colour="blue")])
    assert found["character"] == pytest.approx(2 / 3, abs=1e-3) and found["cap"] == pytest.approx(2 / 3, abs=1e-3)
    assert found["right pose"] == 0.5 and found["right background"] == 1.0


def test_pictures_of_any_size_are_read_as_they_would_be_at_64_pixels():
    torch.manual_seed(0)
    classifier = PartsClassifier().eval()
    small = parts_classifier.render_mascot(random.Random(0)).pixels
    flat = np.full((48, 80, 3), (200, 30, 60), np.uint8)
    found = parts_classifier.classify(classifier, [small, flat, np.zeros((64, 64, 3), np.uint8)])
    again = parts_classifier.classify(classifier, [np.full((64, 64, 3), (200, 30, 60), np.uint8), small])
    for one, other in ((found[0], again[1]), (found[1], again[0])):
        assert (one.pose, one.colour) == (other.pose, other.colour)
        assert one.parts == pytest.approx(other.parts, abs=1e-5) and set(one.parts) == set(mascot.PARTS)
    assert len({tuple(one.parts.values()) for one in found}) == 3
