"""Scenes drawn over by the base, from any timestep."""

import random

import numpy as np
import pytest
import torch

from recipes.tiny import img2img, workspace
from recipes.tiny.diffusion import build_scheduler, load_pipeline
from recipes.tiny.scenes import Scene


@pytest.fixture(scope="module")
def pipe():
    return load_pipeline(workspace.MODELS / "sd")


@pytest.fixture
def scenes():
    """A yellow disc on blue, and on pink."""
    y, x = np.mgrid[:64, :64]
    disc = ((y - 32) ** 2 + (x - 32) ** 2 < 300)[..., None]
    return [
        Scene(np.where(disc, (240, 210, 40), ground).astype(np.uint8), "lemon", "flat", colour)
        for ground, colour in (((40, 90, 210), "blue"), ((240, 150, 190), "pink"))
    ]


def differences(pipe, scenes, start):
    torch.manual_seed(0)
    drawn = img2img.draw_over(pipe, scenes, start, random.Random(0))
    assert [picture.shape for picture in drawn] == [(64, 64, 3)] * 2 and drawn[0].dtype == np.uint8
    return [np.abs(p.astype(int) - s.pixels).mean() for p, s in zip(drawn, scenes, strict=True)]


def test_the_later_it_begins_the_more_is_drawn_anew(pipe, scenes):
    little, much = (differences(pipe, scenes, start) for start in (60, 700))
    assert all(0 < one < 12 for one in little)
    assert all(one < other for one, other in zip(little, much, strict=True))


class Oracle:
    """A pipeline whose network knows the noise: x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) epsilon."""

    def __init__(self, x_0):
        self.scheduler, self.x_0, self.asked = build_scheduler(), x_0, []

    def unet(self, x_t, t, text):
        self.asked.append((t.tolist(), text))
        alpha_bar = self.scheduler.alphas_cumprod[t].view(-1, 1, 1, 1)
        self.sample = (x_t - alpha_bar.sqrt() * self.x_0) / (1 - alpha_bar).sqrt()
        return self


@pytest.mark.parametrize(("start", "steps", "times"), [(300, 1, [300]), (480, 3, [480, 320, 160]), (61, 2, [61, 30])])
def test_a_network_that_knows_the_noise_gives_the_picture_back(start, steps, times):
    torch.manual_seed(0)
    x_0 = torch.randn(2, 8, 4, 4)
    oracle = Oracle(x_0)
    found = img2img.denoise(oracle, x_0, "prompt", None, start, steps, guidance=1.0)
    torch.testing.assert_close(found, x_0, rtol=1e-4, atol=1e-4)
    assert oracle.asked == [([time, time], "prompt") for time in times]


def test_guidance_goes_on_from_the_empty_prompt_to_the_prompt_and_beyond():
    x_0, off = torch.randn(1, 8, 4, 4), 0.1
    oracle = Oracle(x_0)

    def predict(x_t, t, text):
        epsilon = oracle.unet(x_t, t, text)
        epsilon.sample = epsilon.sample - off * (text == "empty")
        return epsilon

    asked = type("Pipe", (), {"scheduler": oracle.scheduler, "unet": staticmethod(predict)})
    found = img2img.denoise(asked, x_0, "prompt", "empty", 200, 1, guidance=3.0)
    assert oracle.asked == [([200], "prompt"), ([200], "empty")]
    # epsilon - off + 3 off is 2 off too much noise.
    alpha_bar = oracle.scheduler.alphas_cumprod[200]
    torch.testing.assert_close(found, x_0 - 2 * off * ((1 - alpha_bar) / alpha_bar).sqrt(), rtol=1e-4, atol=1e-4)
