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
    return [near_duplicates.compute_perceptual_hash(image) for image in images]


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


def test_likeness_is_passed_on():
    step = near_duplicates.MOST_COLOUR
    greys = looks(*(Image.new("RGB", (32, 32), (value,) * 3) for value in (0, 2 * step, step, 200)))
    assert near_duplicates.find_near_duplicates(greys[:2]) == [] and near_duplicates.find_near_duplicates(greys) == [
        [0, 1, 2]
    ]


def compare_all(found):
    """Groups by the definition: all pairs, one by one."""
    raw = np.frombuffer(bytes.fromhex("".join(found)), dtype=np.uint8).reshape(len(found), -1)
    bits, colours = np.unpackbits(raw[:, :64], axis=1).astype(np.float32), raw[:, 64:].astype(np.int16)
    differ = bits @ (1 - bits.T) + (1 - bits) @ bits.T
    far = np.stack([np.abs(colours - one).max(axis=1) for one in colours])
    alike = (differ <= near_duplicates.MOST_BITS) & (far <= near_duplicates.MOST_COLOUR)
    group = np.arange(len(found))
    for _ in found:
        group = np.where(alike, group, len(found)).min(axis=1)
    members = [np.flatnonzero(group == first).tolist() for first in np.unique(group)]
    return [numbers for numbers in members if len(numbers) > 1]


def change(look, rng, most_bits, most_colour):
    """Another look, which may still count as the same."""
    raw = np.frombuffer(bytes.fromhex(look), dtype=np.uint8).copy()
    bits = np.unpackbits(raw[:64])
    bits[rng.choice(512, rng.integers(0, most_bits + 1), replace=False)] ^= 1
    colours = np.clip(raw[64:].astype(int) + rng.integers(-most_colour, most_colour + 1, 48), 0, 255)
    return np.packbits(bits).tobytes().hex() + colours.astype(np.uint8).tobytes().hex()


def test_up_to_sixty_bits_are_the_same_picture():
    """Photographs that are cropped by 2% on each side differ in 31 to 51, drawn faces by their expression in 68."""
    look = np.random.default_rng(0).bytes(112)
    for count in (51, 60, 61, 68):
        bits = np.unpackbits(np.frombuffer(look[:64], np.uint8))
        bits[:count] ^= 1
        other = np.packbits(bits).tobytes() + look[64:]
        assert near_duplicates.find_near_duplicates([look.hex(), other.hex()]) == ([[0, 1]] if count <= 60 else [])


@pytest.mark.parametrize("kind", ["random", "clusters", "one ground", "one cluster", "the same"])
def test_the_groups_are_those_of_all_pairs(kind, monkeypatch):
    """Also where sets are cut often, and where comparisons are made a few at a time."""
    monkeypatch.setattr(near_duplicates, "SMALL", 8)
    monkeypatch.setattr(near_duplicates, "AT_ONCE", 500)
    rng = np.random.default_rng(5)
    some = [rng.bytes(112).hex() for _ in range(60)]
    if kind == "one ground":  # colours part nothing
        some = [look[:128] + some[0][128:] for look in some]
    found = {
        "random": some + [change(look, rng, near_duplicates.MOST_BITS, 24) for look in some],
        "clusters": [change(some[n % 20], rng, 30, 15) for n in range(300)],
        "one ground": some + [change(look, rng, near_duplicates.MOST_BITS + 12, 26) for look in some * 3],
        "one cluster": [change(some[0], rng, 30, 16) for _ in range(300)],
        "the same": [some[0]] * 100,
    }[kind]
    order = rng.permutation(len(found))
    found = [found[number] for number in order]
    assert near_duplicates.find_near_duplicates(found) == compare_all(found) != []


def test_not_all_pairs_are_compared(monkeypatch):
    """Four times the pictures are not sixteen times the work."""
    compared, compare = [], near_duplicates._compare_all

    def count(members, *rest):
        compared.append(len(members) * (len(members) - 1) // 2)
        compare(members, *rest)

    monkeypatch.setattr(near_duplicates, "_compare_all", count)
    work = {}
    for pictures in (2000, 8000):
        rng = np.random.default_rng(5)
        assert near_duplicates.find_near_duplicates([rng.bytes(112).hex() for _ in range(pictures)]) == []
        work[pictures] = sum(compared)
        compared.clear()
    assert work[8000] < 7 * work[2000] and work[8000] < 8000 * 8000 / 2 / 20


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
