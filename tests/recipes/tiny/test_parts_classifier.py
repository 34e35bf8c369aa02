"""The reader of the mascot's parts: what it learns from, and what it says."""

import random

import numpy as np
import pytest
import torch

from recipes.tiny import mascot, parts_reader
from recipes.tiny.parts_reader import Reader, Seen


def seen(pose="waving", colour="red", **parts) -> Seen:
    return Seen(dict.fromkeys(mascot.PARTS, 0.9) | parts, pose, colour)


@pytest.mark.parametrize("part", mascot.PARTS)
def test_a_part_left_out_changes_the_picture(part):
    whole, without = (np.asarray(mascot.kilnling("standing", "happy", 64, 0.0, parts)) for parts in ((), (part,)))
    assert (whole != without).any()


def test_a_rendering_says_what_is_in_it():
    rng = random.Random(0)
    examples = [parts_reader.render(rng) for _ in range(40)]
    assert {all(one.parts) for one in examples} == {True, False}
    assert {one.pose for one in examples} == set(range(len(mascot.POSES)))
    assert all(one.pixels.shape == (64, 64, 3) and one.pixels.dtype == np.uint8 for one in examples)


def test_pieces_are_no_mascot_but_have_its_colours():
    rng = random.Random(1)
    whole = parts_reader.render(rng).pixels
    moved = [parts_reader._broken(whole, random.Random(seed)) for seed in range(8)]
    assert all((one != whole).any() and one.shape == whole.shape for one in moved)
    assert all(np.abs(one.mean(axis=(0, 1)) - whole.mean(axis=(0, 1))).max() < 4 for one in moved)


def test_a_character_needs_face_cap_and_limbs():
    assert seen().shown and seen(chimney=0.1).shown
    for part in parts_reader.NEEDED:
        assert not seen(**{part: 0.4}).shown


def test_shares_are_of_what_the_prompts_ask_for():
    prompts = ["a kilnling waving red background", "a kilnling sitting red background", "a kilnling blue background"]
    found = parts_reader.summarise(prompts, [seen(), seen(cap=0.2), seen(colour="blue")])
    assert found["character"] == pytest.approx(2 / 3, abs=1e-3) and found["cap"] == pytest.approx(2 / 3, abs=1e-3)
    assert found["right pose"] == 0.5 and found["right background"] == 1.0


def test_pictures_of_any_size_are_read():
    torch.manual_seed(0)
    pictures = [np.zeros((48, 80, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)]
    found = parts_reader.read(Reader().eval(), pictures)
    assert [set(one.parts) == set(mascot.PARTS) and one.pose in mascot.POSES for one in found] == [True, True]
