"""Made-up creatures in named poses: the same from the same seed, and told truly."""

import random

import numpy as np
import pytest

from recipes.tiny import figures, mascot
from recipes.tiny.labels import COLOURS


def drawn(seed: int, pose: str) -> np.ndarray:
    rng = random.Random(seed)
    return np.asarray(figures.draw_figure(figures.invent(rng), pose, random.Random(0)))


def test_a_seed_draws_one_creature_and_a_pose_changes_it():
    assert (drawn(1, "waving") == drawn(1, "waving")).all()
    assert len({drawn(1, pose).tobytes() for pose in figures.POSES}) == len(figures.POSES)
    assert len({drawn(seed, "standing").tobytes() for seed in range(20)}) == 20


def test_the_poses_are_the_mascots():
    assert figures.POSES == mascot.POSES


@pytest.mark.parametrize("pose", figures.POSES)
def test_a_figure_fits_its_canvas(pose):
    for seed in range(12):
        alpha = drawn(seed, pose)[..., 3]
        assert alpha.any()
        assert not (alpha[0].any() or alpha[-1].any() or alpha[:, 0].any() or alpha[:, -1].any())


def test_captions_say_what_is_there():
    rng = random.Random(3)
    figure, said = (
        figures.invent(rng),
        [figures.describe(figures.invent(rng), "waving", "blue", rng) for _ in range(400)],
    )
    assert all("character" in text.split(",")[0] for text in said)
    assert 0.85 < np.mean(["waving" in text for text in said]) < 0.95
    assert 0.85 < np.mean([text.endswith("blue background") for text in said]) < 0.95
    assert figures.name_of(COLOURS["green"]) == "green"
    named = figures.describe(
        figures.dyed(figure, COLOURS["red"], COLOURS["red"], rng), "sitting", "pink", random.Random(1)
    )
    assert named.startswith(("a red character", "a character"))
