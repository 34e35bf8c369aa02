"""Made-up creatures in named poses: the same from the same seed, and told truly."""

import random

import numpy as np
import pytest

from recipes.tiny import figures
from recipes.tiny.captions import COLOURS
from recipes.tiny.mascot import POSES


def drawn(seed: int, pose: str) -> np.ndarray:
    rng = random.Random(seed)
    return np.asarray(figures.draw_figure(figures.invent_figure(rng), pose, random.Random(0)))


def test_a_seed_draws_one_creature_and_a_pose_changes_it():
    assert (drawn(1, "waving") == drawn(1, "waving")).all()
    assert len({drawn(1, pose).tobytes() for pose in POSES}) == len(POSES)
    assert len({drawn(seed, "standing").tobytes() for seed in range(20)}) == 20


@pytest.mark.parametrize("pose", POSES)
def test_a_figure_fits_its_canvas(pose):
    for seed in range(12):
        alpha = drawn(seed, pose)[..., 3]
        assert alpha.any()
        assert not (alpha[0].any() or alpha[-1].any() or alpha[:, 0].any() or alpha[:, -1].any())


def test_captions_say_what_is_there():
    rng = random.Random(3)
    said = [figures.caption_figure(figures.invent_figure(rng), "waving", "blue", rng) for _ in range(400)]
    assert all("character" in text.split(",")[0] for text in said)
    assert 0.85 < np.mean(["waving" in text for text in said]) < 0.95
    assert 0.85 < np.mean([text.endswith("blue background") for text in said]) < 0.95


@pytest.mark.parametrize("name", COLOURS)
def test_the_skins_colour_is_named_half_of_the_time_and_rightly(name):
    rng = random.Random(4)
    figure = figures.invent_figure(rng)
    assert figures.name_colour(COLOURS[name]) == name
    first = []
    for _ in range(300):
        dyed = figures.dye(figure, COLOURS[name], COLOURS["red"], rng)
        assert max(abs(a - b) for a, b in zip(dyed.skin, COLOURS[name], strict=True)) <= 20
        first.append(figures.caption_figure(dyed, "sitting", "pink", rng).split(",")[0])
    article = "an" if name == "orange" else "a"
    assert first.count(f"{article} {name} character") / 300 == pytest.approx(0.5, abs=0.12)
    assert first.count("a character") / 300 == pytest.approx(0.5, abs=0.1)
