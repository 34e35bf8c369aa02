"""The picture that `--image` names is read as those of a dataset are."""

import os
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from lorakiln.console.errors import UserError
from lorakiln.tools.start_picture import read_start_picture
from tests.prepare.test_prepare_bad_files import photo
from tests.tools.generate.conftest import run


def test_what_is_no_picture_is_told_before_the_base_is_loaded(model, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.png")
    for arguments in ([], ["--describe"]):
        file = ("--image", tmp_path / "pipe.png")
        assert run("red", "--model", model, *file, "--out", tmp_path / "out", *arguments) == 1
        told = capsys.readouterr()
        assert f"{tmp_path}/pipe.png: a pipe, not a regular file" in told.err and "drawing" not in told.out


def damaged():
    """A JPEG in whose data libjpeg finds an error, which Pillow reads without a word."""
    whole = photo()
    at = whole.index(b"\xff\xda") + 200
    return whole[:at] + b"\xff\xd0" + whole[at + 2 :]


@pytest.mark.parametrize(
    ("content", "said", "fix"),
    [
        (damaged(), "damaged or cut off", "copy or download it again"),
        (b"outs:\n- md5: 0123\n  path: in.png\n", "a DVC pointer instead of the picture", "run `dvc pull`"),
        (b"", "empty file", "copy or download it again"),
        (b"qoif\0\0\0\x80\0\0\0\x80\3\0", "not a picture in a known format", "copy or download it again"),
    ],
    ids=["damaged", "a pointer", "empty", "another format"],
)
def test_the_reason_and_the_remedy_are_those_of_prepare(tmp_path, content, said, fix):
    (tmp_path / "in.png").write_bytes(content)
    with pytest.raises(UserError, match=f"not a readable picture: {said}") as caught:
        read_start_picture(tmp_path / "in.png")
    assert caught.value.fix.startswith(fix)


def test_a_picture_that_is_not_here_is_told_with_what_fetches_it(tmp_path):
    with pytest.raises(UserError, match="no such picture"):
        read_start_picture(tmp_path / "in.png")
    (tmp_path / "in.png.dvc").touch()
    with pytest.raises(UserError, match="only its DVC pointer is here") as caught:
        read_start_picture(tmp_path / "in.png")
    assert f"dvc pull {tmp_path}/in.png.dvc" in caught.value.fix


def test_too_many_pixels_are_told_with_what_can_be_done(tmp_path):
    buffer = BytesIO()
    Image.new("1", (20_000, 6_000)).save(buffer, "PNG")
    (tmp_path / "in.png").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match="120,000,000 pixels, the limit is 100,000,000") as caught:
        read_start_picture(tmp_path / "in.png")
    assert caught.value.fix == "make it smaller"


def test_hidden_colours_stay_hidden_and_nothing_is_shrunk(tmp_path):
    shades = np.zeros((300, 40, 4), np.uint8)
    shades[:, :, 0] = 255
    shades[10:20, :, 3] = 255
    Image.fromarray(shades).save(tmp_path / "in.png")
    found = np.asarray(read_start_picture(tmp_path / "in.png"))
    assert found.shape == (300, 40, 3)
    assert (found[0, 0] == 255).all() and tuple(found[15, 0]) == (255, 0, 0)
    Image.fromarray(shades[:, :, :3]).save(tmp_path / "in.jpg")
    assert read_start_picture(tmp_path / "in.jpg").size == (40, 300)
