"""What speaks against pictures: copies, damage, and what changes though nobody asked for it."""

import numpy as np
import pytest
from PIL import Image

from lorakiln.metrics import MetricInputs, Prompt, Shot
from lorakiln.metrics.bleed import Bleed
from lorakiln.metrics.bleed import list_metrics as list_bleed
from lorakiln.metrics.copies import Copies, compute_nearest_pair
from lorakiln.metrics.damage import Damage, measure_pixels
from lorakiln.schema.evaluate import EvaluateSettings


def make_shots(*places, with_trigger=True):
    """Shots of (prompt, seed, weight)."""
    prompts = {index: Prompt(index, f"sks {index}", str(index)) for index, _, _ in places}
    return [Shot(prompts[p], with_trigger, seed, weight, 8, 8, f"{p} {seed} {weight}") for p, seed, weight in places]


def make_inputs(shots, embeddings, references=(), files=(), trained=()):
    empty = np.zeros((0, np.shape(embeddings)[1]))
    references = np.array(references) if len(references) else empty
    return MetricInputs(shots, np.array(embeddings), references, None, files, trained, None, None)


def at(*degrees):
    """Unit vectors at angles."""
    return np.array([[np.cos(np.radians(one)), np.sin(np.radians(one))] for one in degrees])


@pytest.fixture
def metric():
    return {"name": "x", "title": "x", "meaning": "x", "role": "other"}


def test_a_copy_is_nearer_than_any_two_training_pictures(metric):
    references = at(0, 30, 70, 120)  # the nearest two are 30 degrees apart
    shots = make_shots((0, 0, 1.0), (0, 1, 1.0), (0, 2, 1.0))
    inputs = make_inputs(shots, at(-29, -31, 15), references)
    assert Copies(**metric).of_pictures(inputs) == [1.0, 0.0, 1.0]


def test_twins_among_the_training_pictures_do_not_say_how_near_is_near():
    assert compute_nearest_pair(at(0, 0.5, 30, 70)) == pytest.approx(np.cos(np.radians(29.5)))
    assert compute_nearest_pair(at(0, 30, 70)) is None and compute_nearest_pair(at(0, 0, 0, 0)) is None


def save(path, pixels):
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def draw_line(side=64):
    pixels = np.full((side, side, 3), 200)
    pixels[side // 2] = 40
    return pixels


def test_burnt_and_noisy_pictures_are_damaged_and_drawings_are_not(tmp_path, metric):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (64, 64, 3))
    burnt = draw_line()
    burnt[:16] = (255, 0, 255)  # a quarter of it
    files = [
        save(tmp_path / "base.png", draw_line()),
        save(tmp_path / "drawing.png", np.roll(draw_line(), 9, axis=0)),
        save(tmp_path / "noise.png", noise),
        save(tmp_path / "burnt.png", burnt),
    ]
    trained = [save(tmp_path / "trained.png", draw_line())]
    shots = make_shots((0, 0, 0.0), (0, 0, 1.0), (0, 1, 1.0), (0, 2, 1.0))
    inputs = make_inputs(shots, at(0, 0, 0, 0), files=files, trained=trained)
    assert Damage(**metric).of_pictures(inputs) == [0.0, 0.0, 1.0, 1.0]
    # What the training pictures have too is no damage: some are drawn on pure white.
    white = np.full((64, 64, 3), 255)
    trained = [save(tmp_path / "white.png", white)]
    files = [files[0], save(tmp_path / "drawn.png", white)]
    inputs = make_inputs(shots[:2], at(0, 0), files=files, trained=trained)
    assert Damage(**metric).of_pictures(inputs) == [0.0, 0.0]


def test_a_few_rough_training_pictures_do_not_hide_noise_and_pictures_like_them_all_stay_whole(tmp_path, metric):
    rng = np.random.default_rng(0)

    def draw_on_noise(name, strength):
        return save(tmp_path / name, np.clip(draw_line() + rng.normal(0, strength, (64, 64, 1)), 0, 255))

    strengths = [0, 2, 4, 8, 12, 16, 20, 60]
    trained = [draw_on_noise(f"trained{one}.png", one) for one in strengths]
    drawn = [draw_on_noise(f"drawn{one}.png", one) for one in strengths]
    noise = [save(tmp_path / f"noise{one}.png", rng.integers(0, 256, (64, 64, 3))) for one in range(8)]
    files = [save(tmp_path / "base.png", draw_line()), *drawn, *noise]
    shots = make_shots((0, 0, 0.0), *((0, seed, 1.0) for seed in range(16)))
    found = Damage(**metric).of_pictures(make_inputs(shots, at(*[0] * 17), files=files, trained=trained))
    assert sum(found[1:9]) < 0.25 * 8 and found[9:] == [1.0] * 8


def test_the_pixels_of_a_checkerboard_and_of_a_flat_picture(tmp_path):
    rows, columns = np.indices((66, 66))
    board = np.repeat(((rows + columns) % 2 * 255)[..., None], 3, axis=2)
    # Each pixel differs from its four neighbours by 255.
    board = save(tmp_path / "board.png", board)
    assert measure_pixels(board) == pytest.approx((1.0, 4 * 255, 255 / 2), rel=1e-3)
    assert measure_pixels(save(tmp_path / "flat.png", np.full((66, 66, 3), 128))) == (0.0, 0.0, 0.0)


def test_mottling_is_that_of_the_most_even_tenth(tmp_path):
    """Of 64 tiles of which all are halved into two levels the seventh least: a quantile of 0.1 lies at 0.1 * 63."""
    pixels = np.full((64, 64, 3), 100.0)
    for number in range(64):
        row, column = divmod(number, 8)
        pixels[row * 8 : row * 8 + 8, column * 8 : column * 8 + 4] += 2 * number
    assert measure_pixels(save(tmp_path / "a.png", pixels)).mottling == pytest.approx(6.3)


def test_what_nobody_sees_is_no_damage_however_even_the_other_pictures_are(tmp_path, metric):
    """White noise of 2.8 levels: its Laplacian is normal, too, of sqrt(20) times that, and so 10 in the mean."""
    grain = np.random.default_rng(0).normal(0, 1, (128, 128, 1))
    flat = np.full((128, 128, 3), 128.0)
    files = [save(tmp_path / f"{one}.png", flat + one * grain) for one in (0, 2.8, 4)]
    assert measure_pixels(files[1]).noise == pytest.approx(10, rel=0.05)
    shots = make_shots((0, 0, 0.0), (0, 0, 1.0), (0, 1, 1.0))
    found = Damage(**metric).of_pictures(make_inputs(shots, at(0, 0, 0), files=files, trained=files[:1]))
    assert found == [0.0, 0.0, 1.0]


def mottle(pixels, strength):
    """Blots of about four pixels."""
    blots = np.random.default_rng(0).normal(0, strength, (17, 17, 3))
    return np.clip(pixels + np.repeat(np.repeat(blots, 4, axis=0), 4, axis=1)[: len(pixels), : len(pixels)], 0, 255)


def test_mottled_pictures_are_damaged_and_what_is_asked_for_to_be_rough_is_not(tmp_path, metric):
    """A smeared background is; on a prompt of which the base's own picture is as rough, it is not."""
    files = [
        save(tmp_path / "base wall.png", draw_line()),
        save(tmp_path / "base wall again.png", draw_line()),
        save(tmp_path / "base wall once more.png", draw_line()),
        save(tmp_path / "base lawn.png", mottle(draw_line(), 12)),
        save(tmp_path / "wall.png", mottle(draw_line(), 12)),
        save(tmp_path / "hardly.png", mottle(draw_line(), 2)),
        save(tmp_path / "lawn.png", mottle(draw_line(), 12)),
    ]
    places = [(0, 0, 0.0), (0, 1, 0.0), (0, 2, 0.0), (1, 0, 0.0), (0, 0, 1.0), (0, 1, 1.0), (1, 0, 1.0)]
    smooth, rough = save(tmp_path / "drawing.png", draw_line()), save(tmp_path / "paper.png", mottle(draw_line(), 12))
    found = Damage(**metric).of_pictures(make_inputs(make_shots(*places), at(*[0] * 7), files=files, trained=[smooth]))
    assert found == [0, 0, 0, 0, 1, 0, 0]
    # Nor is it where the training pictures are, as those of a style on rough paper.
    found = Damage(**metric).of_pictures(make_inputs(make_shots(*places), at(*[0] * 7), files=files, trained=[rough]))
    assert found == [0] * 7


def test_bleed_is_measured_in_what_another_seed_changes(metric):
    places = [(0, 0, 0.0), (0, 1, 0.0), (0, 0, 1.0), (0, 1, 1.0)]
    bare = make_shots(*places, with_trigger=False)
    # Two seeds of the base are 60 degrees apart, 1 - cosine 0.5; the LoRA moves one by 60 and leaves the other.
    found = Bleed(**metric).of_pictures(make_inputs(bare, at(0, 60, -60, 60)))
    assert found == pytest.approx([0, 0, 1.0, 0])
    with_trigger = make_shots(*places)
    both = make_inputs([*bare, *with_trigger], at(0, 60, -60, 60, 0, 60, 90, 90))
    assert Bleed(**metric).of_pictures(both)[4:] == [None] * 4


def test_bleed_is_not_known_of_one_seed_or_where_it_is_not_drawn(metric):
    bare = make_shots((0, 0, 0.0), (0, 0, 1.0), with_trigger=False)
    assert Bleed(**metric).of_pictures(make_inputs(bare, at(0, 60))) is None
    settings = EvaluateSettings(prompts=["a"], seeds=[0], weights=[0, 1], without_trigger=False)
    assert list_bleed(settings) == [] and len(list_bleed(None)) == 1
