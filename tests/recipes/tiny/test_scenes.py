"""Scenes: where a sprite lies, what the ground is, and whose drawings come how often."""

import random

import numpy as np
import pytest
from PIL import Image

from recipes.tiny import scenes
from recipes.tiny.captions import COLOURS, DERIVED_STYLES


@pytest.mark.parametrize("size", scenes.SIZES)
def test_a_sprite_stays_inside_and_the_ground_keeps_its_colour(size):
    rng = random.Random(3)
    for name, colour in COLOURS.items():
        ground = scenes.paint_background(colour, size, rng)
        nearest = min(COLOURS, key=lambda n: np.abs(ground.mean((0, 1)) - COLOURS[n]).sum())
        assert nearest == name
        picture = scenes.paste(Image.new("RGBA", (64, 40), (0, 0, 0, 255)), ground.copy(), rng)
        assert picture.shape == (size[1], size[0], 3) and picture.dtype == np.uint8
        black = (picture == 0).all(-1)
        assert 0.55 * min(size) <= np.flatnonzero(black.any(0)).size <= 0.95 * min(size)


def test_further_sets_come_as_often_as_asked_and_their_style_has_no_name(make_composer):
    made = make_composer(extra=0.4).sample_batch(600)
    unnamed = [scene for scene in made if scene.style == ""]
    assert len(unnamed) / len(made) == pytest.approx(0.4, abs=0.06)
    assert all(scene.style for scene in make_composer().sample_batch(50))


def test_an_unnamed_style_is_a_further_sets_drawing(make_composer):
    made = [scene for scene in make_composer(extra=0.5).sample_batch(200) if scene.colour in ("gray", "white")]
    assert {scene.style == "" for scene in made} == {True, False}
    for scene in made:
        warmth = scene.pixels[..., 0].astype(int) - scene.pixels[..., 2]
        drawn = warmth[np.abs(warmth) > 60]  # no ground is as warm or cold as the squares, red and blue
        assert drawn.size and (drawn > 0).all() == (scene.style == "")


def test_a_contour_gives_even_a_further_set_the_outline_style(make_composer):
    made = make_composer(extra=1.0, outlined=1.0).sample_batch(20)
    assert {scene.style for scene in made} == {"outline"}


def test_derived_styles_come_as_often_as_asked(make_composer):
    made = make_composer(derived=0.3).sample_batch(400)
    derived = [scene.style for scene in made if scene.style in DERIVED_STYLES]
    assert len(derived) / len(made) == pytest.approx(0.3, abs=0.06) and set(derived) == set(DERIVED_STYLES)


def test_the_same_seed_gives_the_same_scenes(make_composer):
    one, other = (make_composer(extra=0.4, derived=0.3, outlined=0.2).sample_batch(10) for _ in range(2))
    assert all((a.pixels == b.pixels).all() and a.style == b.style for a, b in zip(one, other, strict=True))
