"""What masks are known by: their files, and how their pictures are seen."""

from dataclasses import replace

import pytest

from lorakiln.encode.content_keys import Keys
from lorakiln.encode.variants import View, ViewedPicture
from lorakiln.schema.encode import EncodeSettings


@pytest.fixture
def viewed(tmp_path):
    """A picture with its mask, both of the crop and of what it was cropped from."""
    files = {name: tmp_path / f"{name}.png" for name in ("file", "uncropped", "mask", "uncropped_mask")}
    for name, path in files.items():
        path.write_text(name)
    return ViewedPicture(**files, uncropped_size=(64, 48), views=(View(), View(box=(0, 0, 32, 32))))


@pytest.mark.parametrize(
    ("name", "counts"), [("file", False), ("uncropped", False), ("mask", True), ("uncropped_mask", True)]
)
def test_each_of_a_masks_files_counts_and_no_other(viewed, name, counts):
    keys = Keys({}, EncodeSettings(), "cpu")
    before = keys.mask(viewed)
    getattr(viewed, name).write_text("another")
    assert (keys.mask(viewed) != before) == counts


def test_where_a_mask_is_cut_and_how_pictures_are_encoded_counts(viewed):
    keys, flipped = Keys({}, EncodeSettings(), "cpu"), Keys({}, EncodeSettings(flip=True), "cpu")
    moved = replace(viewed, views=(View(), View(box=(1, 0, 33, 32))))
    another_code = Keys({"code": "another"}, EncodeSettings(), "cpu")
    assert len({keys.mask(viewed), keys.mask(moved), flipped.mask(viewed), another_code.mask(viewed)}) == 4
    assert keys.mask(replace(viewed, mask=None)) is None
