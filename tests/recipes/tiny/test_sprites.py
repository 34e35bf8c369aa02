"""Other hands' drawings: found by name in a set's file, and laid into scenes without a style's name."""

import random

import numpy as np
import pytest
from PIL import Image

from recipes.tiny import clip, hands, scenes
from recipes.tiny.labels import THINGS


def icons(*names, **more):
    return {"width": 32, "icons": {name: {"body": f"<g>{name}</g>"} for name in names}, **more}


@pytest.mark.parametrize("there", ["red-apple", "red-apple-1", "redapple"])
def test_a_drawing_is_found_however_a_set_writes_its_name(there):
    found = hands.svg_of(icons("pear", there), {"red-apple"})
    assert f"<g>{there}</g>" in found and 'viewBox="0 0 32 16"' in found


def test_an_alias_is_followed_and_a_stranger_is_not():
    assert hands.svg_of(icons("apple", aliases={"red-apple": {"parent": "apple"}}), {"red-apple"})
    assert hands.svg_of(icons("apple"), {"red-apple"}) is None


def test_a_pinned_version_of_every_set():
    for package in (*hands.PACKAGES.values(), hands.UNSEEN, hands.NAMING):
        assert package.rpartition("@")[2].count(".") == 2, package
    assert hands.UNSEEN not in hands.PACKAGES.values()


@pytest.fixture
def composer(monkeypatch):
    """One whose four sets draw blue squares, and whose other hands draw red ones."""

    def square(colour):
        return Image.new("RGBA", (40, 40), colour)

    own = {(style, thing): square((0, 0, 255, 255)) for style in scenes.STYLES for thing in THINGS}
    monkeypatch.setattr(scenes, "load_sprites", lambda: own)
    monkeypatch.setattr(scenes, "load_hands", lambda: {thing: [square((255, 0, 0, 255))] for thing in THINGS})
    return lambda **shares: scenes.Composer(1, **shares)


def test_other_hands_come_as_often_as_asked_and_their_style_has_no_name(composer):
    made = composer(others=0.4).batch(600)
    unnamed = [scene for scene in made if scene.style == ""]
    assert len(unnamed) / len(made) == pytest.approx(0.4, abs=0.06)
    assert all(scene.style for scene in composer().batch(50))


def test_a_contour_gives_even_another_hand_the_outline_style(composer):
    made = composer(others=1.0, outlined=1.0).batch(20)
    assert {scene.style for scene in made} == {"outline"}


def test_an_unnamed_style_is_not_counted_by_the_judges_loss(composer, tmp_path):
    import torch

    from recipes.tiny.tokens import clip_tokenizer

    torch.manual_seed(0)
    tokenizer = clip_tokenizer(tmp_path)
    reader = clip.Reader(clip.build(len(tokenizer), tokenizer.eos_token_id), tokenizer)
    scene = composer().batch(4)
    values = torch.rand(4, 3, 64, 64)
    unnamed = [scenes.Scene(s.pixels, s.thing, "", s.colour) for s in scene[:2]] + scene[2:]
    losses = []
    for styles in (scene, unnamed):
        losses.append(clip.loss_of(reader, styles, values, random.Random(0)).item())
    assert losses[0] != losses[1] and all(np.isfinite(losses))
