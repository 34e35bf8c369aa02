"""The redrawn styles on a red disc: pixels that a contour must and must not touch."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from recipes.tiny.labels import BASE_STYLES, REDRAWN_STYLES, STYLES, caption, spoken
from recipes.tiny.redraw import MARGIN, REDRAWN, redrawn


@pytest.fixture
def disc():
    image = Image.new("RGBA", (60, 60))
    ImageDraw.Draw(image).ellipse((0, 0, 59, 59), fill=(220, 40, 40, 255))
    return image


def test_every_style_has_its_drawing_and_none_is_a_sets():
    assert set(REDRAWN) == set(REDRAWN_STYLES)
    assert not set(REDRAWN_STYLES) & set(STYLES) and "outline" not in BASE_STYLES


@pytest.mark.parametrize("style", REDRAWN_STYLES)
def test_the_picture_grows_by_the_margin_and_stays_empty_outside(disc, style):
    found = redrawn(disc, style)
    assert found.size == (60 + 2 * MARGIN, 60 + 2 * MARGIN) and found.mode == "RGBA"
    assert np.asarray(found)[0, 0, 3] == 0


def colour(image, x, y):
    return np.asarray(image)[y, x, :3].astype(int)


def test_a_drawing_is_pale_inside_and_dark_at_the_rim(disc):
    found = redrawn(disc, "drawing")
    inside, rim = colour(found, 34, 34), colour(found, 34, MARGIN)
    assert inside.min() > 170 and np.ptp(inside) < 40
    assert rim.max() < 130


def test_a_sticker_keeps_its_colours_and_has_a_white_border(disc):
    found = redrawn(disc, "icon")
    assert (colour(found, 34, 34) == (220, 40, 40)).all()
    assert colour(found, 34, MARGIN - 2).min() > 240 and np.asarray(found)[MARGIN - 2, 34, 3] > 128


def test_an_illustrations_contour_is_a_dark_shade_of_its_colour(disc):
    found = redrawn(disc, "illustration")
    assert (colour(found, 34, 34) == (220, 40, 40)).all()
    red, green, blue = colour(found, 34, MARGIN)
    assert 60 < red < 170 and green < 60 and blue < 60


def test_a_redrawn_style_is_always_named():
    import random

    rng = random.Random(0)
    texts = {spoken("cat", "icon", "blue", rng) for _ in range(200)}
    assert texts == {caption("cat", "icon", "blue"), caption("cat", "icon", None)}
