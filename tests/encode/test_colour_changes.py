"""Changed colours against colorsys, Pillow and closed forms."""

import colorsys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from lorakiln.encode.colour_changes import ColourChange, change_colours
from lorakiln.schema.augment import AugmentSettings

SHADES = np.random.default_rng(0).integers(40, 180, (6, 5, 3), dtype=np.uint8)


def changed(shades: np.ndarray, *changes: ColourChange) -> np.ndarray:
    """(B, H, W, 3) in [0, 1], one for each of the changes."""
    pixels = torch.from_numpy(shades / 127.5 - 1).float().permute(2, 0, 1)
    found = change_colours(pixels.expand(len(changes), -1, -1, -1), changes)
    return ((found + 1) / 2).permute(0, 2, 3, 1).numpy()


def test_nothing_changes_where_all_factors_are_one():
    assert np.allclose(changed(SHADES, ColourChange())[0], SHADES / 255, atol=1e-6)


@pytest.mark.parametrize("degrees", [-100.0, -16.0, 8.0, 120.0, 180.0])
def test_the_hue_turns_as_in_hsv(degrees):
    (found,) = changed(SHADES, ColourChange(hue=degrees))
    for place in np.ndindex(SHADES.shape[:2]):
        hue, saturation, value = colorsys.rgb_to_hsv(*(SHADES[place] / 255))
        assert np.allclose(found[place], colorsys.hsv_to_rgb((hue + degrees / 360) % 1, saturation, value), atol=1e-5)


def test_grey_has_no_hue_to_turn():
    grey = np.full((2, 2, 3), 90, dtype=np.uint8)
    assert np.allclose(changed(grey, ColourChange(hue=90.0))[0], 90 / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "enhance"),
    [("brightness", ImageEnhance.Brightness), ("contrast", ImageEnhance.Contrast), ("saturation", ImageEnhance.Color)],
)
@pytest.mark.parametrize("factor", [0.7, 1.3])
def test_factors_are_those_of_pillow(name, enhance, factor):
    """Which rounds greys and results to whole shades: 1.5 shades for both."""
    (found,) = changed(SHADES, ColourChange(**{name: factor}))
    expected = np.asarray(enhance(Image.fromarray(SHADES)).enhance(factor), dtype=float)
    assert np.abs(found * 255 - expected).max() < 1.5
    assert np.abs(found * 255 - SHADES).max() > 5


def test_gamma_is_a_power_and_what_is_too_bright_is_white():
    assert np.allclose(changed(SHADES, ColourChange(gamma=1.2))[0], (SHADES / 255) ** 1.2, atol=1e-5)
    bright, dark = changed(SHADES, ColourChange(brightness=1.9), ColourChange(contrast=0.0))
    assert np.allclose(bright, (SHADES / 255 * 1.9).clip(0, 1), atol=1e-5) and bright.max() == 1
    assert np.allclose(dark, (SHADES / 255 @ [0.299, 0.587, 0.114]).mean(), atol=1e-5)


def test_every_picture_of_a_batch_has_its_own_change():
    one, two = ColourChange(1.1, 0.9, 1.2, 0.8, 20.0), ColourChange(hue=-50.0)
    both = changed(SHADES, one, two)
    assert np.allclose(both[0], changed(SHADES, one)[0]) and np.allclose(both[1], changed(SHADES, two)[0])


def test_what_is_drawn_lies_evenly_in_the_ranges():
    settings = AugmentSettings(variants=1, brightness=0.2, hue=16.0)
    assert ColourChange.draw(settings, [0.0] * 5) == ColourChange(brightness=0.8, hue=-16.0)
    assert ColourChange.draw(settings, [0.5] * 5) == ColourChange()
    near = ColourChange.draw(settings, [0.75] * 5)
    assert near == replace(near, gamma=1, contrast=1, saturation=1) and near.brightness == pytest.approx(1.1)
    assert near.hue == 8.0
