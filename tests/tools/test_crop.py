"""`lorakiln crop`: all pictures of one size, as birme makes them."""

import os

import numpy as np
import pytest
from PIL import Image

from lorakiln.cli import main


@pytest.fixture
def pictures(tmp_path):
    """Noise of other shapes, one with a caption file and one with a crop by hand."""
    folder = tmp_path / "photos"
    for name, size in (("a.png", (64, 48)), ("deep/b c.png", (30, 90)), ("small.png", (8, 8)), ("out.png", (64, 64))):
        shades = np.random.default_rng(len(name)).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shades).save(folder / name)
    (folder / "a.TXT").write_bytes("größe".encode("utf-16"))
    (folder / "deep/b c.png.edit.yaml").write_text("crop: [0, 10, 20, 40]\n")
    (folder / "out.png.edit.yaml").write_text("excluded: true\n")
    return folder


def test_every_picture_has_the_size_and_its_caption(pictures, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["crop", str(pictures), "--size", "16x24", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "3 pictures of 16x24 pixels, 1 caption file" in told and "smaller: 1 (small.png)" in told
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert files == {"a.png", "a.TXT", "deep/b c.png", "small.png"}
    assert (out / "a.TXT").read_bytes() == (pictures / "a.TXT").read_bytes()
    with Image.open(pictures / "a.png") as raw, Image.open(out / "a.png") as made:
        # 64 x 48 covers 16 x 24 at half its size: 32 x 24, of which the middle half of the width stays.
        expected = raw.resize((32, 24), Image.Resampling.LANCZOS, reducing_gap=3.0).crop((8, 0, 24, 24))
        assert np.array_equal(np.asarray(made), np.asarray(expected))
    with Image.open(pictures / "deep/b c.png") as raw, Image.open(out / "deep/b c.png") as made:
        # The box of 20 x 30 has the very shape.
        expected = raw.crop((0, 10, 20, 40)).resize((16, 24), Image.Resampling.LANCZOS, reducing_gap=3.0)
        assert np.array_equal(np.asarray(made), np.asarray(expected))


@pytest.mark.parametrize("format", ["jpg", "webp"])
def test_files_are_of_the_format_that_is_asked_for(pictures, tmp_path, format):
    out = tmp_path / "out"
    assert main(["crop", str(pictures), "--size", "16x24", "--out", str(out), "--format", format]) == 0
    with Image.open(out / f"a.{format}") as made:
        assert made.size == (16, 24) and made.format == {"jpg": "JPEG", "webp": "WEBP"}[format]


def test_what_cannot_be_is_refused_and_nothing_is_left(pictures, tmp_path, capsys):
    def refuse(*more, out="out", size="16x24", folder=pictures):
        assert main(["crop", str(folder), "--size", size, "--out", str(tmp_path / out), *more]) == 1
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    assert "'16' is no size" in refuse(size="16")
    assert "no such folder" in refuse(folder=tmp_path / "gone")
    assert "is there already" in refuse(out="photos")
    assert "lies in the folder of the pictures" in refuse(out="photos/out")
    (tmp_path / "empty").mkdir()
    assert "no pictures here" in refuse(folder=tmp_path / "empty")
    (pictures / "broken.png").write_bytes(b"no picture")
    told = refuse()
    assert "1 of 4 files cannot be used" in told and "broken.png" in told


def test_advice_names_no_setting_that_this_command_lacks(tmp_path, capsys):
    folder = tmp_path / "photos"
    folder.mkdir()
    frames = [Image.new("RGB", (32, 32), (shade, 0, 0)) for shade in (0, 200)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "else.png").write_bytes(b"")
    (folder / "far.png").symlink_to(tmp_path / "else.png")
    Image.new("1", (20_000, 10_000)).save(folder / "huge.png")
    Image.new("RGB", (300, 16)).save(folder / "long.png")  # any shape is cropped
    assert main(["crop", str(folder), "--size", "16x24", "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "3 of 4 files cannot be used" in told and "prepare." not in told
    assert "export the frame you want:" in told and "copy the files here:" in told and "make it smaller:" in told


def test_captions_that_cannot_be_copied_are_in_the_list(pictures, tmp_path, capsys):
    os.mkfifo(pictures / "small.txt")
    (pictures / "deep/b c.txt").mkdir()
    (pictures / "a.TXT").unlink()
    (tmp_path / "secret").write_text("no caption")
    (pictures / "a.txt").symlink_to(tmp_path / "secret")
    assert main(["crop", str(pictures), "--size", "16x24", "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "3 of 3 files cannot be used" in told and "Traceback" not in told
    assert "small.txt (a pipe)" in told and "deep/b c.txt (Is a directory)" in told
    assert "a link that leads out of the dataset's folder (1)" in told
    assert not (tmp_path / "out").exists()
