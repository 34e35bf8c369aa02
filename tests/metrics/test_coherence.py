"""Pictures of something, told from noise, blurs and heaps: on made-up embeddings, and on pictures in the tiny CLIP."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lorakiln.evaluate.clip import Clip
from lorakiln.evaluate.shots import plan_shots
from lorakiln.metrics import Scored
from lorakiln.metrics.coherence import LOSES, Coherence, blur, compute_agreement, compute_detail_loss, shuffle, spread
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.model import Source

ROOT = Path(__file__).parents[2]


def scored_as(vectors_of, prompts=4, seeds=3):
    """Scored pictures with the embedding that `vectors_of(prompt, seed, weight)` gives."""
    settings = EvaluateSettings(prompts=[f"p{n}" for n in range(prompts)], seeds=list(range(seeds)), weights=[0, 1])
    plan = plan_shots(settings, "", (8, 8), "base", "lora")
    return [Scored(shot, vectors_of(shot.prompt.index, shot.seed, shot.weight), {}) for shot in plan.shots]


def axis(number):
    return np.eye(16)[number]


def test_seeds_that_show_the_same_agree_and_those_that_do_not_do_not():
    # The base's prompts are at right angles: nothing is in the way from 0 to 1.
    assert compute_agreement(scored_as(lambda p, s, w: axis(p)), 1) == 1
    assert compute_agreement(scored_as(lambda p, s, w: axis(4 * s + p) if w else axis(p)), 1) == 0


@pytest.mark.parametrize(("cosine", "agree"), [(0.49, 0.0), (0.51, 1.0)])
def test_half_of_the_way_counts(cosine, agree):
    def vectors(prompt, seed, weight):
        # Two seeds at the given angle.
        other = cosine * axis(prompt) + np.sqrt(1 - cosine**2) * axis(prompt + 8)
        return axis(prompt) if seed == 0 or not weight else other

    assert compute_agreement(scored_as(vectors, seeds=2), 1) == agree


@pytest.mark.parametrize(("cosine", "agree"), [(0.74, 0.0), (0.76, 1.0)])
def test_what_all_prompts_have_in_common_is_no_agreement(cosine, agree):
    """Where the base's prompts have a cosine of 0.5, half of the way is 0.75."""

    def vectors(prompt, seed, weight):
        base = np.sqrt(0.5) * (axis(15) + axis(prompt))
        aside = np.sqrt(1 - cosine**2) * axis(prompt + 8)
        return base if seed == 0 or not weight else cosine * base + aside

    assert compute_agreement(scored_as(vectors, seeds=2), 1) == agree


def test_one_seed_tells_nothing_and_a_base_that_draws_one_thing_agrees_on_nothing():
    assert compute_agreement(scored_as(lambda p, s, w: axis(p), seeds=1), 1) is None
    assert compute_agreement(scored_as(lambda p, s, w: axis(0)), 1) == 0
    assert compute_agreement(scored_as(lambda p, s, w: axis(p), prompts=1), 1) == 0


def test_what_is_objected():
    assert Coherence(0.76, 0.34, 0.34).objection is None
    assert "26% of the prompts" in Coherence(0.74, 0.34, 0.34).objection
    assert "blurs" in Coherence(1, 0.32, 1).objection and "noise" in Coherence(1, 1, 0.32).objection
    alone = Coherence(None, 1, 1)
    assert alone.unknown and "two or more" in alone.objection and not Coherence(None, 0, 1).unknown
    assert alone.as_dict() == {"detail": 1, "arrangement": 1}


def test_shuffling_keeps_every_pixel_of_what_three_divides_and_moves_the_tiles():
    pixels = np.random.default_rng(0).integers(0, 256, (31, 60, 3), dtype=np.uint8)
    shuffled = np.asarray(shuffle(Image.fromarray(pixels)))
    assert shuffled.shape == (30, 60, 3)
    assert np.array_equal(np.sort(shuffled.reshape(-1, 3), axis=0), np.sort(pixels[:30].reshape(-1, 3), axis=0))
    tiles = [(y, x) for y in range(3) for x in range(3)]
    moved = [
        not np.array_equal(*(a[10 * y : 10 * y + 10, 20 * x : 20 * x + 20] for a in (shuffled, pixels)))
        for y, x in tiles
    ]
    assert sum(moved) >= 7


def test_pictures_are_taken_evenly():
    assert spread(5) == [0, 1, 2, 3, 4] and spread(0) == []
    assert spread(130, 64) == list(range(0, 130, 3))


@pytest.fixture(scope="module")
def losses(tmp_path_factory):
    """What blurring and shuffling take from pictures, as a share of what they take from the mascot's."""
    torch.set_num_threads(1)
    clip = Clip.load(Source(path=str(ROOT / "models/tiny/clip")), torch.device("cpu"))
    folder = tmp_path_factory.mktemp("pictures")

    def measure(images):
        files = []
        for number, image in enumerate(images):
            files.append(folder / f"{number}.png")
            image.save(files[-1])
        whole = clip.pictures(files)
        return np.array([compute_detail_loss(whole, clip.pictures(files, alter=alter)) for alter in (blur, shuffle)])

    known = measure(raw("demo_character"))
    return lambda images: measure(images) / known


def raw(name):
    files = sorted((ROOT / "data/raw" / name).glob("*.png"))
    return [Image.open(file).convert("RGB").resize((64, 64)) for file in files]


def noise(scale):
    """Random colours, each `scale` pixels wide."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (20, 64 // scale, 64 // scale, 3), dtype=np.uint8)
    return [Image.fromarray(pixels).resize((64, 64), Image.Resampling.NEAREST) for pixels in small]


def test_drawings_of_another_set_lose_as_much_as_the_training_pictures(losses):
    assert min(losses(raw("demo_style"))) > 2 * LOSES


@pytest.mark.parametrize("scale", [1, 2])
def test_noise_does_not_mind_being_shuffled(losses, scale):
    assert losses(noise(scale))[1] < LOSES


def test_a_blur_does_not_mind_being_blurred(losses):
    assert losses([blur(image) for image in raw("demo_character")])[0] < LOSES / 2


def test_flat_pictures_show_nothing(losses):
    assert max(losses([Image.new("RGB", (64, 64), colour) for colour in ("red", "teal", "white")])) < LOSES
