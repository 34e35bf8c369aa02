"""A mask goes where its picture goes: put upright, resized, cropped; and what cannot be one is told."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from lorakiln.artefacts.json_files import read_json, read_jsonl
from lorakiln.caption import caption
from lorakiln.console.errors import UserError
from lorakiln.prepare import prepare
from lorakiln.schema.captioners.none import NobodySettings
from lorakiln.schema.model import Source

SIZE = (200, 120)  # its bucket is 80x48: nothing is cropped; 200x100 is
MARKED = (20, 30, 110, 80)  # left, top, right and bottom: in no way symmetric


def draw_marked(size, value=255):
    image = Image.new("L", size)
    image.paste(value, MARKED)
    return image


def rows_of(folder):
    return {row["file_name"]: row for row in read_jsonl(folder / "metadata.jsonl")}


def read(path):
    return np.asarray(Image.open(path)).astype(int)


def turn(image, orientation):
    """As a camera stores it, with the tag that puts it upright."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = {1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 6: Image.Transpose.ROTATE_90}[orientation]
    return image.transpose(stored) if stored is not None else image, exif


@pytest.mark.parametrize("orientation", [1, 2, 6])
@pytest.mark.parametrize("size", [SIZE, (200, 100), (120, 160)])
@pytest.mark.parametrize("kind", ["masks/a.png", "a-masklabel.png", "alpha"])
def test_a_mask_stays_on_what_it_marks(tmp_path, settings, kind, size, orientation):
    """The picture is white where the mask is, so that the two are the same after all that is done to both."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    (raw / "masks").mkdir(parents=True)
    mask = draw_marked(size)
    if kind == "alpha":
        picture = Image.merge("LA", (Image.new("L", size, 255), mask))
    else:
        picture = mask.convert("RGB")
        mask.save(raw / kind)
    stored, exif = turn(picture, orientation)
    stored.save(raw / "a.png", exif=exif)
    prepare(raw, out, settings(margin=0.5, background="black"))
    row = rows_of(out)["a.png"]
    assert row["mask"]["source"] == kind
    for made, masked in (
        (row["file_name"], row["mask"]["file_name"]),
        (row["uncropped"]["file_name"], row["mask"]["uncropped"]),
    ):
        pixels, marks = read(out / made)[..., 0], read(out / masked)
        assert marks.shape == pixels.shape and 0 < (marks > 127).mean() < 0.5
        # But for the edges, where one is made by Lanczos; a pixel beside its place would be 255 off.
        assert np.abs(pixels - marks)[(marks == 0) | (marks == 255)].max() < 80
        assert ((marks > 0) & (marks < 255)).mean() < 0.12
    marks = read(out / row["mask"]["file_name"])
    assert row["mask"]["share"] == pytest.approx(marks.mean() / 255, abs=1e-4)
    # The same pixels without a mask.
    prepare(raw, tmp_path / "plain", settings(margin=0.5, background="black", masks="none"))
    assert "mask" not in rows_of(tmp_path / "plain")["a.png"]
    assert (tmp_path / "plain/a.png").read_bytes() == (out / "a.png").read_bytes()


def test_each_pixel_is_the_mean_of_what_it_covers(tmp_path, settings):
    """160x96 is halved in both sides, so that a pixel is the mean of four; half of a grey is half of it."""
    raw = tmp_path / "raw"
    (raw / "masks").mkdir(parents=True)
    shades = np.random.default_rng(0).integers(0, 256, (96, 160), dtype=np.uint8)
    Image.new("RGB", (160, 96)).save(raw / "a.png")
    Image.fromarray(shades).save(raw / "masks/a.png")
    # Half as large, and transparent where nothing is to be learned: white on nothing.
    alpha = Image.fromarray(shades[::2, ::2])
    Image.merge("LA", (Image.new("L", alpha.size, 255), alpha)).save(raw / "masks/b.png")
    Image.new("RGB", (160, 96)).save(raw / "b.png")
    prepare(raw, tmp_path / "out", settings())
    means = shades.reshape(48, 2, 80, 2).mean(axis=(1, 3))
    assert np.abs(read(tmp_path / "out/.masks/a.png") - means).max() <= 1
    assert np.array_equal(read(tmp_path / "out/.masks/b.png"), shades[::2, ::2])


@pytest.mark.parametrize(
    ("masks", "sources"),
    [
        ("auto", {"both.png": "masks/both.png", "clear.png": "alpha"}),
        ("files", {"both.png": "masks/both.png"}),
        ("alpha", {"both.png": "alpha", "clear.png": "alpha"}),
        ("none", {}),
    ],
)
def test_which_masks_are_taken(tmp_path, settings, masks, sources, capsys):
    raw = tmp_path / "raw"
    (raw / "masks").mkdir(parents=True)
    clear = Image.merge("LA", (Image.new("L", SIZE, 9), draw_marked(SIZE)))
    for name in ("both", "clear"):
        clear.save(raw / f"{name}.png")
    Image.new("LA", SIZE, (7, 255)).save(raw / "opaque.png")
    draw_marked(SIZE, 128).save(raw / "masks/both.png")
    prepare(raw, tmp_path / "out", settings(masks=masks))
    rows = rows_of(tmp_path / "out")
    assert {name: row["mask"]["source"] for name, row in rows.items() if "mask" in row} == sources
    told = capsys.readouterr().out
    assert ("1 file with masks left aside" in told) == (masks in ("alpha", "none"))
    assert ("masks for " in told) == bool(sources)
    if masks == "auto":
        whole = 90 * 50 / (200 * 120)
        assert "masks for 2 of 3 pictures (1 of files, 1 of alpha channels)" in told
        assert f"of these {whole * (1 + 128 / 255) / 2:.0%} is to be learned" in told


def test_masks_that_cannot_be_used_are_told_by_name(tmp_path, settings, noise, capsys):
    raw = tmp_path / "raw"
    (raw / "masks").mkdir(parents=True)
    for name in ("black", "cut", "good", "twice", "wide"):
        noise(100, 64).save(raw / f"{name}.png")
    Image.new("L", (50, 32)).save(raw / "masks/black.png")
    Image.new("L", (100, 64), 255).save(raw / "masks/good.png")
    Image.new("L", (100, 64)).save(raw / "masks/lonely.png")
    Image.new("L", (100, 64)).save(raw / "masks/twice.png")
    Image.new("L", (100, 64)).save(raw / "twice-masklabel.png")
    Image.new("L", (100, 60)).save(raw / "masks/wide.png")
    (raw / "masks/cut.png").write_bytes((raw / "masks/good.png").read_bytes()[:60])
    with pytest.raises(UserError) as refused:
        prepare(raw, tmp_path / "out", settings())
    told = str(refused.value)
    assert "its mask has another shape (1); make it as wide and high as the picture" in told
    assert "wide.png (masks/wide.png: 100x60 for 100x64 pixels)" in told
    assert "its mask: damaged or cut off (1)" in told and "cut.png (masks/cut.png: " in told
    assert "several masks for one picture (1); remove all but one" in told
    assert "twice.png (masks/twice.png, twice-masklabel.png)" in told
    assert not (tmp_path / "out").exists()
    capsys.readouterr()
    prepare(raw, tmp_path / "out", settings(on_bad="skip"))
    told = capsys.readouterr().err
    assert "nothing of these pictures is to be learned (1):\n  black.png (masks/black.png)" in told
    assert "masks of no picture; they are called as it, masks/NAME.png or NAME-masklabel.png (1):\n" in told
    assert "  masks/lonely.png" in told
    assert {row["source"] for row in read_jsonl(tmp_path / "out/quarantine.jsonl")} == {
        "cut.png",
        "twice.png",
        "wide.png",
    }


def test_a_changed_mask_makes_one_picture_anew_and_another_dataset(tmp_path, settings, noise, contents, capsys):
    raw, out = tmp_path / "raw", tmp_path / "out"
    (raw / "masks").mkdir(parents=True)
    for seed, name in enumerate("ab"):
        noise(*SIZE, seed).save(raw / f"{name}.png")
        draw_marked(SIZE).save(raw / f"masks/{name}.png")
    prepare(raw, out, settings(margin=0.25))
    before = read_json(out / "dataset.json")["hash"]
    draw_marked(SIZE, 200).save(raw / "masks/a.png")
    (raw / "b.png").rename(raw / "moved.png")
    (raw / "masks/b.png").rename(raw / "moved-masklabel.png")
    capsys.readouterr()
    prepare(raw, out, settings(margin=0.25))
    assert "prepare: 2 pictures (1 reused)" in capsys.readouterr().out
    assert read_json(out / "dataset.json")["hash"] != before
    prepare(raw, tmp_path / "fresh", settings(margin=0.25))
    assert contents(out) == contents(tmp_path / "fresh")
    assert ".masks/.uncropped/moved.png" in contents(out)
    # What was painted over is noticed.
    (out / ".masks/a.png").write_bytes(b"painted over")
    prepare(raw, out, settings(margin=0.25))
    assert contents(out) == contents(tmp_path / "fresh")


def test_captioned_pictures_have_their_masks_beside_them(tmp_path, settings, noise):
    raw = tmp_path / "raw"
    raw.mkdir()
    noise(*SIZE).save(raw / "a.png")
    draw_marked(SIZE).save(raw / "a-masklabel.png")
    prepare(raw, tmp_path / "prepared", settings(margin=0.0))
    caption(tmp_path / "prepared", raw, tmp_path / "out", NobodySettings(trigger="sks"), Source(path="./nowhere"))
    mask = rows_of(tmp_path / "out")["a.png"]["mask"]
    for name in (mask["file_name"], mask["uncropped"]):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "prepared" / name).read_bytes()
