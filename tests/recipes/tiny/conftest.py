"""A working folder of the test's own, and plain drawings in place of the emoji sets."""

import numpy as np
import pytest
from PIL import Image

from recipes.tiny import scenes, workspace
from recipes.tiny.captions import STYLES, THINGS


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """The working folder; every drawing of the four sets is an orange disc."""
    monkeypatch.setattr(workspace, "WORK", tmp_path)
    y, x = np.mgrid[:64, :64]
    disc = np.zeros((64, 64, 4), np.uint8)
    disc[(y - 32) ** 2 + (x - 32) ** 2 < 900] = (200, 60, 40, 255)
    drawn = {(style, thing): Image.fromarray(disc, "RGBA") for style in STYLES for thing in THINGS}
    monkeypatch.setattr(scenes, "load_sprites", lambda: drawn)
    monkeypatch.setattr(scenes, "load_extra_sprites", lambda: {thing: [drawn["flat", thing]] for thing in THINGS})
    return tmp_path


@pytest.fixture
def make_composer(monkeypatch):
    """Makes composers whose four sets draw blue squares, and whose further sets draw red ones."""

    def square(colour):
        return Image.new("RGBA", (40, 40), colour)

    own = {(style, thing): square((0, 0, 255, 255)) for style in scenes.STYLES for thing in THINGS}
    monkeypatch.setattr(scenes, "load_sprites", lambda: own)
    monkeypatch.setattr(scenes, "load_extra_sprites", lambda: {thing: [square((255, 0, 0, 255))] for thing in THINGS})
    return lambda **shares: scenes.Composer(1, **shares)
