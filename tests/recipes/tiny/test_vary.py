"""Bent and recoloured pictures: what must stay as it is, and what must not."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from recipes.tiny import vary


def test_a_plain_ground_stays_plain():
    torch.manual_seed(0)
    plain = torch.tensor([0.5, -0.2, 0.9]).view(1, 3, 1, 1).expand(8, 3, 64, 64)
    assert torch.allclose(vary.bent(plain), plain, atol=1e-6)


def test_most_of_a_batch_is_bent_and_the_rest_untouched():
    torch.manual_seed(0)
    values = torch.rand(400, 3, 16, 16)
    kept = (vary.bent(values) == values).flatten(1).all(1).float().mean()
    assert kept == pytest.approx(1 - vary.BENT, abs=0.07)


def test_what_is_in_the_middle_stays_in_the_picture(monkeypatch):
    monkeypatch.setattr(vary, "BENT", 1.0)
    torch.manual_seed(0)
    values = torch.zeros(64, 1, 64, 64)
    values[:, :, 24:40, 24:40] = 1.0
    share = vary.bent(values).sum((1, 2, 3)) / 256
    assert share.min() > 0.6 and share.max() < 1.7  # STRETCH squared, and the wave


def test_without_strength_it_is_the_identity_or_its_mirror(monkeypatch):
    for name in ("TURN", "STRETCH", "SHIFT", "WAVE"):
        monkeypatch.setattr(vary, name, 0.0)
    torch.manual_seed(0)
    values = torch.rand(64, 3, 16, 16)
    made = vary.bent(values)
    same = [bool(torch.allclose(a, b, atol=1e-5)) for a, b in zip(made, values, strict=True)]
    turned = [bool(torch.allclose(a, b.flip(-1), atol=1e-5)) for a, b in zip(made, values, strict=True)]
    assert all(a or b for a, b in zip(same, turned, strict=True)) and any(same) and any(turned)


def test_recolouring_keeps_the_shape_and_turns_the_hue_a_little():
    sprite = Image.new("RGBA", (20, 20), (220, 40, 40, 255))
    sprite.putpixel((0, 0), (0, 0, 0, 0))
    colours = []
    for seed in range(60):
        made = vary.recoloured(sprite, random.Random(seed))
        assert (np.asarray(made)[..., 3] == np.asarray(sprite)[..., 3]).all()
        colours.append(made.getpixel((10, 10))[:3])
    assert len(set(colours)) > 30
    assert all(red == max(red, green, blue) for red, green, blue in colours)  # red stays red
