"""Drawn pictures beside the training pictures that they are nearest to."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorakiln.evaluate.nearest_pairs import describe_bar, find_nearest_pairs, make_cards
from lorakiln.evaluate.pages import load_template
from lorakiln.metrics import MetricInputs, Prompt, Shot

PROMPT = Prompt(0, "sks cat", "cat")


def turn(degrees):
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=-1)


def make_inputs(drawn, trained):
    """Unit vectors in a plane, by their angles.

    Args:
        drawn: (degrees, weight, with the trigger words, adapter) of each picture.
    """
    shots = [Shot(PROMPT, trigger, seed, weight, 8, 8, "", by) for seed, (_, weight, trigger, by) in enumerate(drawn)]
    files = [Path(f"{number}.png") for number in range(len(trained))]
    embeddings = turn(np.array([one[0] for one in drawn], float))
    return MetricInputs(
        shots, embeddings, turn(np.array(trained, float)), None, [], files, None, None, frozenset(), None
    )


def test_the_nearest_come_first_each_training_picture_once_and_copies_are_told():
    # No two of the training pictures are nearer than 10 degrees.
    drawn = [(4, 1.0, True, ""), (1, 1.0, True, ""), (55, 1.0, True, ""), (0, 0.0, True, ""), (30, 1.0, False, "")]
    found = find_nearest_pairs(make_inputs(drawn, [0, 10, 40, 90]), 1.0)
    # 4 and 1 degrees are both nearest to the first, of which 1 is nearer; the base and those without trigger are out.
    assert [(pair.shot.seed, pair.trained.name, pair.is_copy) for pair in found] == [
        (1, "0.png", True),
        (2, "2.png", False),
    ]
    assert [pair.likeness for pair in found] == pytest.approx([np.cos(np.radians(1)), np.cos(np.radians(15))])
    assert found[0].bar == pytest.approx(np.cos(np.radians(10)))
    assert "0.985" in describe_bar(found)


def test_of_several_files_one_is_looked_at_and_of_few_pictures_no_copy_is_told():
    drawn = [(0, 1.0, True, "a"), (2, 1.0, True, "b")]
    (pair,) = find_nearest_pairs(make_inputs(drawn, [0, 90, 45]), 1.0, "b")
    assert pair.shot.adapter == "b" and pair.bar is None and not pair.is_copy
    assert "too few training pictures" in describe_bar([pair]) == describe_bar([])
    assert find_nearest_pairs(make_inputs(drawn, [0, 90, 45]), 0.5, "b") == []


def test_as_many_are_shown_as_are_asked_for():
    drawn = [(degrees + 1, 1.0, True, "") for degrees in range(0, 360, 30)]
    inputs = make_inputs(drawn, list(range(0, 360, 30)))
    assert len(find_nearest_pairs(inputs, 1.0)) == 6
    assert len(find_nearest_pairs(inputs, 1.0, most=20)) == 12


def test_a_page_calls_copies_alone_so(tmp_path):
    drawn = [(1, 1.0, True, ""), (55, 1.0, True, "")]
    inputs = make_inputs(drawn, [0, 10, 40, 90])
    for number, trained in enumerate(inputs.trained):
        Image.new("RGB", (8, 8)).save(tmp_path / trained)
        inputs.trained[number] = tmp_path / trained
    for shot in inputs.shots:
        (tmp_path / shot.file_name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / shot.file_name)
    cards = make_cards(find_nearest_pairs(inputs, 1.0), tmp_path)
    page = load_template("nearest.html").module.nearest_pairs(cards)
    shown = [card.count(">copy<") for card in page.split('<div class="card">')[1:]]
    assert shown == [1, 0] and "1.000 " in page and "0.966" in page
