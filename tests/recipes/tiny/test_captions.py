"""The words and the captions of the tiny world."""

import random

from recipes.tiny import captions
from recipes.tiny.captions import caption, sample_caption


def test_names_suit_captions():
    assert len(captions.THINGS) >= 100
    assert len(set(captions.THINGS.values())) == len(captions.THINGS)
    assert len(captions.COLOURS) == 10
    assert not set(captions.THINGS) & (set(captions.COLOURS) | set(captions.STYLES))
    assert "outline" not in captions.BASE_STYLES
    assert caption("apple", "flat", "blue") == "an apple, flat style, blue background"
    assert caption(None) == ""


def test_a_sixth_of_the_captions_are_partial():
    rng = random.Random(0)
    said = [sample_caption("cat", "flat", "blue", rng) for _ in range(4000)]
    full = sum(text == "a cat, flat style, blue background" for text in said) / len(said)
    assert 0.80 < full < 0.86
    assert all(text.startswith("a cat") for text in said)


def test_a_derived_style_is_always_named():
    rng = random.Random(0)
    texts = {sample_caption("cat", "icon", "blue", rng) for _ in range(200)}
    assert texts == {caption("cat", "icon", "blue"), caption("cat", "icon", None)}


def test_each_name_is_asked_for_in_the_captions_form():
    assert {field: len(names) for field, names in captions.QUESTIONS.items()} == {
        "thing": len(captions.THINGS),
        "style": 4,
        "colour": 10,
    }
    asked = captions.QUESTIONS
    assert asked["thing"]["owl"] == "an owl"
    assert asked["style"]["flat"] == "flat style" and asked["colour"]["red"] == "red background"
