"""Pictures read from files, and what they tell."""

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from lorakiln.artefacts.pictures import read_picture, read_prompt
from lorakiln.console.errors import UserError


def test_a_picture_is_read_as_rgb_and_upright(tmp_path):
    turned = Image.new("RGBA", (3, 2), "red")
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    turned.save(tmp_path / "a.png", exif=exif)
    picture = read_picture(tmp_path / "a.png")
    assert (picture.mode, picture.size, picture.getpixel((0, 0))) == ("RGB", (2, 3), (255, 0, 0))


def test_what_is_none_is_refused_with_the_callers_way_out(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"a\.png: not a readable picture .*\n  fix: run the stage that made it again"):
        read_picture(tmp_path / "a.png")
    with pytest.raises(UserError, match="fix: take another"):
        read_picture(tmp_path / "a.png", "take another")
    # One that somebody named has a wrong name; one of our own was removed, as the system says.
    with pytest.raises(UserError, match=r"b\.png: not a readable picture .*\n  fix: take another"):
        read_picture(tmp_path / "b.png", "take another")
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "b.png")


@pytest.mark.parametrize(
    ("text", "prompt"),
    [
        ("a cat\nNegative prompt: blur\nSteps: 4, Seed: 1", "a cat"),
        ("a cat\nSteps: 4, Seed: 1", "a cat"),
        ("how to\nSteps: one, two\nNegative prompt: blur\nmore\nSteps: 4", "how to\nSteps: one, two"),
        ("\nNegative prompt: blur\nSteps: 4", ""),
        (None, ""),
    ],
)
def test_the_prompt_of_a_picture(tmp_path, text, prompt):
    told = PngInfo()
    if text is not None:
        told.add_itxt("parameters", text)
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png", pnginfo=told)
    assert read_prompt(tmp_path / "a.png") == prompt
