"""What the judge is taught of the base's hand."""

import random

import numpy as np
import pytest
import torch

from recipes.tiny import haze, paths
from recipes.tiny.diffusion import load_pipeline
from recipes.tiny.pool import Pool
from recipes.tiny.scenes import Scene


@pytest.fixture(scope="module")
def pipe():
    return load_pipeline(paths.MODELS / "sd")


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
    drawn = haze.hazed(pipe, scenes, start, random.Random(0))
    assert [picture.shape for picture in drawn] == [(64, 64, 3)] * 2 and drawn[0].dtype == np.uint8
    return [np.abs(p.astype(int) - s.pixels).mean() for p, s in zip(drawn, scenes, strict=True)]


def test_the_later_it_begins_the_more_is_drawn_anew(pipe, scenes):
    little, much = (differences(pipe, scenes, start) for start in (60, 700))
    assert all(0 < one < 12 for one in little)
    assert all(one < other for one, other in zip(little, much, strict=True))


def test_the_pool_gives_back_what_was_put_in(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "WORK", tmp_path)
    assert Pool().draw(3, random.Random(0)) == []
    (tmp_path / "haze").mkdir()
    pictures = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    labels = np.array([(f"thing{i}", "flat", "blue") for i in range(4)])
    for part in (0, 1):
        half = slice(2 * part, 2 * part + 2)
        np.savez(tmp_path / "haze" / f"{part}.npz", pictures=pictures[half], labels=labels[half])
    drawn = Pool().draw(50, random.Random(0))
    assert {scene.thing for scene in drawn} == {f"thing{i}" for i in range(4)}
    for scene in drawn:
        assert (scene.pixels == pictures[int(scene.thing[-1])]).all()
