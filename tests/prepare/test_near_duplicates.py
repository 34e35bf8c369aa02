"""Which pictures count as the same."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.prepare import near_duplicates, prepare


def drawing(seed, side=96):
    """Some circles and lines on a plain ground."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (side, side), tuple(rng.integers(60, 200, 3)))
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, r = rng.integers(10, side - 10), rng.integers(10, side - 10), rng.integers(5, 25)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(rng.integers(0, 256, 3)), outline="black")
    return image


def as_jpeg(image, quality=60):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def cropped(image):
    width, height = image.size
    return image.crop((width // 50, height // 50, width - width // 50, height - height // 50))


CHANGES = {
    "jpeg": as_jpeg,
    "half": lambda image: image.resize([edge // 2 for edge in image.size]),
    "cropped": cropped,
    "lighter": lambda image: image.point(lambda value: min(255, int(value * 1.05))),
}


def looks(*images):
    return [near_duplicates.compute_look(image) for image in images]


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_picture_in_another_way_is_alike(change):
    for seed in range(10):
        assert near_duplicates.find_near_duplicates(looks(drawing(seed), CHANGES[change](drawing(seed)))) == [[0, 1]]


def test_different_pictures_are_not_alike():
    assert near_duplicates.find_near_duplicates(looks(*map(drawing, range(30)))) == []


def test_the_same_shape_in_another_colour_is_not_alike():
    red, blue = (Image.new("RGB", (64, 64), colour) for colour in ("red", "blue"))
    assert near_duplicates.find_near_duplicates(looks(red, blue)) == [] and near_duplicates.find_near_duplicates(
        looks(red, red)
    ) == [[0, 1]]


def test_a_drawing_with_red_and_blue_exchanged_is_another():
    """Which hashes of greys call the same: docs/decisions/0020-near-duplicates-look-at-colours.md."""
    for seed in range(10):
        red, green, blue = drawing(seed).split()
        other = Image.merge("RGB", (blue, green, red))
        assert near_duplicates.find_near_duplicates(looks(drawing(seed), other)) == []


def test_likeness_is_passed_on(monkeypatch):
    step = near_duplicates.MOST_COLOUR
    greys = looks(*(Image.new("RGB", (32, 32), (value,) * 3) for value in (0, 2 * step, step, 200)))
    assert near_duplicates.find_near_duplicates(greys[:2]) == [] and near_duplicates.find_near_duplicates(greys) == [
        [0, 1, 2]
    ]
    monkeypatch.setattr(near_duplicates, "MOST_PICTURES", 3)
    assert near_duplicates.find_near_duplicates(greys) == []


def test_prepare_tells_of_them_and_marks_them(tmp_path, settings, capfd):
    (tmp_path / "raw").mkdir()
    for seed in range(3):
        drawing(seed).save(tmp_path / "raw" / f"{seed}.png")
    as_jpeg(drawing(1)).save(tmp_path / "raw" / "again.jpg")
    prepare(tmp_path / "raw", tmp_path / "out", settings())
    assert (
        "pictures that look the same weigh as much as there are of them (1):\n  1.png ~ again.jpg"
        in capfd.readouterr().err
    )
    twins = {row["source"]: row["twin"] for row in read_jsonl(tmp_path / "out" / "metadata.jsonl")}
    assert len(set(twins.values())) == 3 and twins["1.png"] == twins["again.jpg"]
