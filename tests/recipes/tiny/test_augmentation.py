"""Augmentation: what of a sprite and of a picture must change, and what must stay as it is."""

import random

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from recipes.tiny import augmentation
from recipes.tiny.augmentation import MARGIN, STYLIZERS, stylize
from recipes.tiny.captions import BASE_STYLES, DERIVED_STYLES, STYLES


@pytest.fixture
def disc():
    image = Image.new("RGBA", (60, 60))
    ImageDraw.Draw(image).ellipse((0, 0, 59, 59), fill=(220, 40, 40, 255))
    return image


def test_every_style_has_its_drawing_and_none_is_a_sets():
    assert set(STYLIZERS) == set(DERIVED_STYLES)
    assert not set(DERIVED_STYLES) & set(STYLES) and "outline" not in BASE_STYLES


@pytest.mark.parametrize("style", DERIVED_STYLES)
def test_the_picture_grows_by_the_margin_and_stays_empty_outside(disc, style):
    found = stylize(disc, style)
    assert found.size == (60 + 2 * MARGIN, 60 + 2 * MARGIN) and found.mode == "RGBA"
    assert np.asarray(found)[0, 0, 3] == 0


def colour(image, x, y):
    return np.asarray(image)[y, x, :3].astype(int)


def test_a_drawing_is_pale_inside_and_dark_at_the_rim(disc):
    found = stylize(disc, "drawing")
    inside, rim = colour(found, 34, 34), colour(found, 34, MARGIN)
    assert inside.min() > 170 and np.ptp(inside) < 40
    assert rim.max() < 130


def test_a_sticker_keeps_its_colours_and_has_a_white_border(disc):
    found = stylize(disc, "icon")
    assert (colour(found, 34, 34) == (220, 40, 40)).all()
    assert colour(found, 34, MARGIN - 2).min() > 240 and np.asarray(found)[MARGIN - 2, 34, 3] > 128


def test_an_illustrations_contour_is_a_dark_shade_of_its_colour(disc):
    found = stylize(disc, "illustration")
    assert (colour(found, 34, 34) == (220, 40, 40)).all()
    red, green, blue = colour(found, 34, MARGIN)
    assert 60 < red < 170 and green < 60 and blue < 60


def test_a_plain_ground_stays_plain():
    torch.manual_seed(0)
    plain = torch.tensor([0.5, -0.2, 0.9]).view(1, 3, 1, 1).expand(8, 3, 64, 64)
    assert torch.allclose(augmentation.warp(plain), plain, atol=1e-6)


def test_most_of_a_batch_is_warped_and_the_rest_untouched():
    torch.manual_seed(0)
    values = torch.rand(400, 3, 16, 16)
    kept = (augmentation.warp(values) == values).flatten(1).all(1).float().mean()
    assert kept == pytest.approx(1 - augmentation.WARPED, abs=0.07)


def test_what_is_in_the_middle_stays_in_the_picture(monkeypatch):
    monkeypatch.setattr(augmentation, "WARPED", 1.0)
    torch.manual_seed(0)
    values = torch.zeros(64, 1, 64, 64)
    values[:, :, 24:40, 24:40] = 1.0
    share = augmentation.warp(values).sum((1, 2, 3)) / 256
    assert share.min() > 0.6 and share.max() < 1.7  # STRETCH squared, and the wave


def test_without_strength_it_is_the_identity_or_its_mirror(monkeypatch):
    for name in ("TURN", "STRETCH", "SHIFT", "WAVE"):
        monkeypatch.setattr(augmentation, name, 0.0)
    torch.manual_seed(0)
    values = torch.rand(64, 3, 16, 16)
    made = augmentation.warp(values)
    same = [bool(torch.allclose(a, b, atol=1e-5)) for a, b in zip(made, values, strict=True)]
    turned = [bool(torch.allclose(a, b.flip(-1), atol=1e-5)) for a, b in zip(made, values, strict=True)]
    assert all(a or b for a, b in zip(same, turned, strict=True)) and any(same) and any(turned)


def test_recolouring_keeps_the_shape_and_turns_the_hue_a_little():
    sprite = Image.new("RGBA", (20, 20), (220, 40, 40, 255))
    sprite.putpixel((0, 0), (0, 0, 0, 0))
    colours = []
    for seed in range(60):
        made = augmentation.recolour(sprite, random.Random(seed))
        assert (np.asarray(made)[..., 3] == np.asarray(sprite)[..., 3]).all()
        colours.append(made.getpixel((10, 10))[:3])
    assert len(set(colours)) > 30
    assert all(red == max(red, green, blue) for red, green, blue in colours)  # red stays red


def test_half_of_the_pictures_stay_and_the_rest_are_a_little_off():
    plain = [np.full((16, 16, 3), 128, np.uint8)] * 600
    made = augmentation.degrade(plain, random.Random(0), trips=0.0)
    changed = [one for one in made if (one != 128).any()]
    assert len(changed) / 600 == pytest.approx(0.45, abs=0.06)
    assert all(one.shape == (16, 16, 3) and one.dtype == np.uint8 for one in made)
    assert all(abs(one.mean() - 128) < 8 and one.std() < 12 for one in changed)


def test_a_trip_through_the_vae_keeps_the_picture_and_needs_a_vae(workshop):
    from recipes.tiny.workspace import MODELS

    y, x = np.mgrid[:64, :64]
    disc = ((y - 32) ** 2 + (x - 32) ** 2 < 300)[..., None]
    picture = np.where(disc, (240, 210, 40), (40, 90, 210)).astype(np.uint8)
    augmentation._load_vae.cache_clear()
    try:
        without = augmentation.degrade([picture] * 40, random.Random(0), trips=1.0)
        assert sum((one == picture).all() for one in without) > 10
        (workshop / "vae").symlink_to(MODELS / "sd" / "vae")
        augmentation._load_vae.cache_clear()
        made = augmentation.degrade([picture] * 40, random.Random(0), trips=1.0)
        assert not any((one == picture).all() for one in made)
        assert all(np.abs(one.astype(int) - picture).mean() < 40 for one in made)
    finally:
        augmentation._load_vae.cache_clear()
