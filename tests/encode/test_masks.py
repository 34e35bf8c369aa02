"""Masks of pictures become masks of latents: each cell's is the mean of its pixels, in every variant."""

import numpy as np
import pytest
import torch
from PIL import Image

from lorakiln.artefacts.hashing import hash_file
from lorakiln.artefacts.json_files import read_json, read_jsonl, write_jsonl
from lorakiln.console.errors import UserError
from lorakiln.encode import encode
from lorakiln.encode.masks import encode_mask
from lorakiln.encode.variants import View, ViewedPicture, draw_views
from lorakiln.rows import read_captioned
from lorakiln.schema.encode import EncodeSettings
from lorakiln.train.encoded_dataset import EncodedDataset
from tests.encode.conftest import SETTINGS, assert_equals_fresh, contents

DRAWN = EncodeSettings(flip=True, batch_size=2, augment={"variants": 2, "crop": "random", "hue": 16.0})
MASKED = ("a.png", "deep/d.png")  # both 32x32; c.png, of the same bucket, and the two of 48x32 have none
ROOM = 12


def draw_shades(size, seed):
    """Random ones, so that every place and every mirror image is another."""
    return np.random.default_rng(seed).integers(0, 256, size[::-1], dtype=np.uint8)


def save(folder, name, shades):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(shades).save(folder / name)
    return hash_file(folder / name)


@pytest.fixture
def masked(captioned):
    """The captioned folder, with masks for some, and all that there is before the crop."""
    rows = list(read_jsonl(captioned / "metadata.jsonl"))
    for seed, row in enumerate(rows):
        size, larger = (row["width"], row["height"]), (row["width"] + ROOM, row["height"] + ROOM)
        kept = f".uncropped/{row['file_name']}"
        sha256 = save(captioned, kept, np.stack([draw_shades(larger, seed)] * 3, axis=-1))
        row["uncropped"] = {"file_name": kept, "width": larger[0], "height": larger[1], "png_sha256": sha256}
        if row["file_name"] in MASKED:
            names = {"file_name": f".masks/{row['file_name']}", "uncropped": f".masks/{kept}"}
            sums = [
                save(captioned, name, draw_shades(of, seed))
                for name, of in zip(names.values(), (size, larger), strict=True)
            ]
            row["mask"] = {**names, "png_sha256": sums[0], "uncropped_sha256": sums[1], "source": "alpha", "share": 0.5}
    write_jsonl(captioned / "metadata.jsonl", rows)
    return captioned


def average(shades, cells):
    """By hand: of each cell the mean of its pixels."""
    height, width = (side // cell for side, cell in zip(shades.shape, cells, strict=True))
    return torch.from_numpy(shades.reshape(cells[0], height, cells[1], width).mean(axis=(1, 3)) / 255)


@pytest.mark.parametrize("settings", [SETTINGS, DRAWN], ids=["crop", "drawn crops"])
def test_each_cell_is_the_mean_of_its_pixels_in_every_variant(masked, tmp_path, micro_model, settings):
    encode(masked, tmp_path / "out", settings, micro_model)
    rows = {row.file_name: row for row in read_captioned(masked)}
    encoded = EncodedDataset.read(tmp_path / "out")
    assert [bucket.mask is None for bucket in encoded.buckets] == [False, True]
    (bucket, _) = encoded.buckets
    assert bucket.mask.shape == (*bucket.mean.shape[:2], *bucket.mean.shape[3:])
    for number, entry in enumerate(bucket.rows):
        row, found = rows[entry.file_name], bucket.mask[number].double()
        if entry.file_name not in MASKED:
            assert torch.all(found == 1) and entry.key_mask is None
            continue
        cut = [np.asarray(Image.open(masked / row.mask.file_name))]
        for view in draw_views(row, settings.augment)[1:]:
            cut.append(np.asarray(Image.open(masked / row.mask.uncropped).crop(view.box)))
        means = [average(shades, found.shape[1:]) for shades in cut]
        expected = torch.stack([one for mean in means for one in (mean, mean.flip(-1))])
        assert torch.allclose(found, expected, atol=5e-4)
        assert entry.mask_share == 0.5


def test_a_crop_around_a_face_is_averaged_as_large_as_it_is(tmp_path):
    """A box that is larger than its bucket, 48x48 for 32x32, has cells of 12 x 12 pixels: nothing is resized twice."""
    shades = draw_shades((60, 60), 0)
    for name in ("mask.png", "beside.png"):
        save(tmp_path, name, shades if name == "beside.png" else shades[:32, :32])
    views = (View(), View((8, 12, 56, 60)))
    viewed = ViewedPicture(
        tmp_path / "none", tmp_path / "none", (60, 60), views, tmp_path / "mask.png", tmp_path / "beside.png"
    )
    found = encode_mask(viewed, (32, 32), (4, 4), flip=False).double()
    assert torch.allclose(found[0], average(shades[:32, :32], (4, 4)), atol=5e-4)
    assert torch.allclose(found[1], average(shades[12:60, 8:56], (4, 4)), atol=5e-4)


def test_a_changed_mask_changes_the_dataset_and_encodes_nothing(masked, tmp_path, micro_model, calls):
    encode(masked, tmp_path / "out", SETTINGS, micro_model)
    before = read_json(tmp_path / "out" / "index.json")
    calls["pictures"].clear()
    save(masked, ".masks/a.png", np.zeros((32, 32), np.uint8))
    encode(masked, tmp_path / "out", SETTINGS, micro_model)
    assert not calls["pictures"]
    assert_equals_fresh(masked, tmp_path / "out", micro_model)
    after = read_json(tmp_path / "out" / "index.json")
    assert before["hash"] != after["hash"]
    (number,) = [number for number, row in enumerate(after["buckets"][0]["rows"]) if row["file_name"] == "a.png"]
    assert not EncodedDataset.read(tmp_path / "out").buckets[0].mask[number].any()


def test_without_masks_there_is_nothing_of_them(captioned, tmp_path, micro_model):
    encode(captioned, tmp_path / "out", SETTINGS, micro_model)
    assert all(bucket.mask is None for bucket in EncodedDataset.read(tmp_path / "out").buckets)
    assert b"mask" not in b"".join(contents(tmp_path / "out").values())


def test_a_mask_of_another_size_is_refused_by_name(masked, tmp_path, micro_model):
    save(masked, ".masks/a.png", np.zeros((16, 32), np.uint8))
    with pytest.raises(UserError, match=r"masks/a.png: is 32x16 pixels, metadata.jsonl says 32x32"):
        encode(masked, tmp_path / "out", SETTINGS, micro_model)
