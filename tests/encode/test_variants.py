"""Variants that are drawn: which part of a picture, what colours, where the network is told that it was taken."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from lorakiln.artefacts.hashing import hash_file
from lorakiln.artefacts.json_files import read_json, read_jsonl, write_jsonl
from lorakiln.console.errors import ConfigError, UserError
from lorakiln.encode import encode
from lorakiln.encode.colour_changes import change_colours
from lorakiln.encode.content_keys import Keys, read_rows
from lorakiln.encode.variants import draw_views, list_variants
from lorakiln.families.sd.model import StableDiffusion
from lorakiln.rows import CaptionedRow, read_captioned
from lorakiln.schema.base import check
from lorakiln.schema.encode import EncodeSettings
from lorakiln.tracking.contact_sheet import CELL, GAP
from lorakiln.train.encoded_dataset import EncodedDataset
from tests.encode.conftest import TEXTS, assert_equals_fresh, contents, rows_of, write_picture

AUGMENT = {"variants": 2, "crop": "random", "brightness": 0.1, "hue": 16.0}
DRAWN = EncodeSettings(flip=True, batch_size=2, augment=AUGMENT)
ROOM = 20  # pixels that the uncropped pictures are wider and higher


@pytest.fixture
def uncropped(captioned):
    """The captioned folder, with the pictures before their crop, as `prepare.margin` has them kept."""
    rows = list(read_jsonl(captioned / "metadata.jsonl"))
    for seed, row in enumerate(rows, 100):
        size = (row["width"] + ROOM, row["height"] + ROOM)
        name = f".uncropped/{row['file_name']}"
        shades = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        (captioned / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(shades).save(captioned / name)
        row["resized"] = [row["width"], row["height"] + 4]
        row["uncropped"] = dict(zip(("file_name", "width", "height"), (name, *size), strict=True))
        row["uncropped"]["png_sha256"] = hash_file(captioned / name)
    write_jsonl(captioned / "metadata.jsonl", rows)
    return captioned


def pixels_of(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 127.5 - 1).permute(2, 0, 1)[None]


def test_a_variant_is_the_crop_that_pillow_makes_with_its_colours(uncropped, tmp_path, micro_model, micro_family):
    encode(uncropped, tmp_path / "out", DRAWN, micro_model)
    assert read_json(tmp_path / "out" / "index.json")["variants"] == [
        *("plain", "flip", "augment1", "augment1_flip", "augment2", "augment2_flip")
    ]
    for row in read_captioned(uncropped):
        file, number, _ = rows_of(tmp_path / "out")[row.file_name]
        latents = load_file(tmp_path / "out" / file)["latent_mean"][number]
        expected = [pixels_of(Image.open(uncropped / row.file_name))]
        for view in draw_views(row, DRAWN.augment)[1:]:
            left, top, right, bottom = view.box
            assert (right - left, bottom - top) == (row.width, row.height)
            crop = Image.open(uncropped / row.uncropped.file_name).crop(view.box)
            expected.append(change_colours(pixels_of(crop), [view.colour]))
        for variant, pixels in enumerate(one for view in expected for one in (view, view.flip(3))):
            assert torch.allclose(latents[variant], micro_family.encode_pictures(pixels)[0][0], atol=1e-5)


def test_boxes_reach_every_corner_and_differ_between_variants_and_pictures():
    row = {"file_name": "a.png", "width": 32, "height": 16, "bucket": "32x16", "source": "a", "text": "a"}
    row |= {"source_width": 80, "source_height": 40, "crop": [0, 0, 32, 16]}
    kept = {"file_name": "b", "width": 34, "height": 16, "png_sha256": ""}
    settings = EncodeSettings(augment={"variants": 64, "crop": "random"}).augment
    rows = [CaptionedRow(**row, uncropped=kept, sha256=digit * 64) for digit in "1a"]
    boxes = [[view.box for view in draw_views(one, settings)] for one in rows]
    # As wide as the room is, and no room above and below.
    assert boxes[0][0] is None and set(boxes[0][1:]) == {(left, 0, left + 32, 16) for left in (0, 1, 2)}
    assert boxes[0] != boxes[1] and boxes[0] == [view.box for view in draw_views(rows[0], settings)]
    fewer = settings.model_copy(update={"variants": 3, "hue": 9.0})
    assert [view.box for view in draw_views(rows[0], fewer)] == boxes[0][:4]


def test_every_variant_is_told_where_it_was_taken(uncropped, tmp_path, micro_model, monkeypatch):
    monkeypatch.setattr(
        StableDiffusion, "place_conditioning", lambda self, place: {"time_ids": torch.tensor(place).float()}
    )
    encode(uncropped, tmp_path / "out", DRAWN, micro_model)
    encoded = EncodedDataset.read(tmp_path / "out")
    rows = {row.file_name: row for row in read_captioned(uncropped)}
    for bucket in encoded.buckets:
        for number, entry in enumerate(bucket.rows):
            row = rows[entry.file_name]
            first, second = (view.box for view in draw_views(row, DRAWN.augment)[1:])
            corners = [(2, 0), (2, 0)]  # its crop is as wide as what it was cropped from, and in the middle of it
            for left, top, right, _ in (first, second):
                corners += [(top, left), (top, row.width + ROOM - right)]
            size = (row.source_height, row.source_width)
            expected = [[*size, *corner, row.height, row.width] for corner in corners]
            assert bucket.conditioning["time_ids"][number].tolist() == expected
            rows_asked, variants = torch.tensor([number] * 2), torch.tensor([5, 2])
            told = bucket.condition(rows_asked, variants)
            assert told["time_ids"].tolist() == [expected[5], expected[2]]
            assert torch.equal(told["prompt_embeds"], bucket.conditioning["prompt_embeds"][[number] * 2])
            assert bucket.condition_plain(number)["time_ids"].tolist() == [expected[0]]
    # Of one variant there is no such dimension, which is how it always was.
    encode(uncropped, tmp_path / "one", EncodeSettings(), micro_model)
    assert {b.conditioning["time_ids"].dim() for b in EncodedDataset.read(tmp_path / "one").buckets} == {2}
    assert "by_variant" not in read_json(tmp_path / "one" / "index.json")


def test_a_file_without_its_variants_places_is_refused(uncropped, tmp_path, micro_model):
    encode(uncropped, tmp_path / "out", DRAWN, micro_model)
    index = read_json(tmp_path / "out" / "index.json")
    (tmp_path / "out" / "index.json").write_text(json.dumps(index | {"by_variant": ["time_ids"]}))
    with pytest.raises(UserError, match="time_ids is not there for every variant"):
        EncodedDataset.read(tmp_path / "out")


def test_one_changed_picture_encodes_one(uncropped, tmp_path, micro_model, calls):
    encode(uncropped, tmp_path / "out", DRAWN, micro_model)
    assert len(calls["pictures"]) == 5 * 6
    calls["pictures"].clear()
    write_picture(uncropped, ".uncropped/a.png", 7)
    Image.open(uncropped / ".uncropped/a.png").resize((32 + ROOM, 32 + ROOM)).save(uncropped / ".uncropped/a.png")
    encode(uncropped, tmp_path / "out", DRAWN, micro_model)
    # The plain picture is encoded with its variants.
    assert len(calls["pictures"]) == 6
    assert_equals_fresh(uncropped, tmp_path / "out", micro_model, DRAWN)


def test_a_stopped_run_goes_on(uncropped, tmp_path, micro_model, calls, monkeypatch):
    whole = StableDiffusion.encode_pictures

    def stopping(self, pixels):
        if len(calls["pictures"]) >= 2 * 6:
            raise KeyboardInterrupt
        return whole(self, pixels)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(StableDiffusion, "encode_pictures", stopping)
        encode(uncropped, tmp_path / "out", DRAWN, micro_model)
    calls["pictures"].clear()
    encode(uncropped, tmp_path / "out", DRAWN, micro_model)
    assert len(calls["pictures"]) == 3 * 6
    assert_equals_fresh(uncropped, tmp_path / "out", micro_model, DRAWN)


def test_colours_alone_need_no_uncropped_picture(captioned, tmp_path, micro_model, micro_family):
    settings = EncodeSettings(batch_size=2, augment={"variants": 1, "saturation": 0.5})
    encode(captioned, tmp_path / "out", settings, micro_model)
    file, number, _ = rows_of(tmp_path / "out")["a.png"]
    row = next(row for row in read_captioned(captioned) if row.file_name == "a.png")
    pixels = change_colours(pixels_of(Image.open(captioned / "a.png")), [draw_views(row, settings.augment)[1].colour])
    latents = load_file(tmp_path / "out" / file)["latent_mean"][number]
    assert torch.allclose(latents[1], micro_family.encode_pictures(pixels)[0][0], atol=1e-5)
    assert not torch.allclose(latents[1], latents[0], atol=1e-3)


def test_crops_without_the_uncropped_pictures_are_refused(captioned, tmp_path, micro_model):
    with pytest.raises(UserError, match="prepare.margin=0.25"):
        encode(captioned, tmp_path / "out", DRAWN, micro_model)
    assert not (tmp_path / "out").exists()


def test_an_uncropped_picture_of_another_size_is_refused(uncropped, tmp_path, micro_model):
    Image.new("RGB", (40, 40)).save(uncropped / ".uncropped" / "a.png")
    with pytest.raises(UserError, match="is 40x40 pixels, metadata.jsonl says 52x52") as refused:
        encode(uncropped, tmp_path / "out", DRAWN, micro_model)
    assert str(refused.value.where).endswith(".uncropped/a.png")


def test_the_sheet_shows_every_variant(uncropped, tmp_path, micro_model):
    encode(uncropped, tmp_path / "out", DRAWN, micro_model)
    sheet = np.asarray(Image.open(tmp_path / "out" / "variants.png"), dtype=int)
    step = CELL + GAP
    assert sheet.shape == (len(TEXTS) * step + GAP, 6 * step + GAP, 3)
    rows = read_rows(uncropped, Keys({}, DRAWN, "cpu"))
    for number, row in enumerate(rows):
        opened = row.viewed.open((row.width, row.height))
        top, left = GAP + number * step + (CELL - row.height) // 2, GAP + (CELL - row.width) // 2
        # Pictures smaller than a cell are shown as they are.
        plain, mirrored = (sheet[top : top + row.height, x : x + row.width] for x in (left, left + step))
        assert np.array_equal(plain, np.asarray(opened.image)) and np.array_equal(mirrored, plain[:, ::-1])
        changed = sheet[top : top + row.height, left + 2 * step : left + 2 * step + row.width]
        colours = change_colours(pixels_of(opened.crop(1)), [row.viewed.views[1].colour])[0]
        assert np.array_equal(changed, ((colours.permute(1, 2, 0).numpy() + 1) * 127.5).round())


def test_the_sheet_is_bounded(uncropped, tmp_path, micro_model, monkeypatch):
    monkeypatch.setattr("lorakiln.encode.variant_sheet.MOST_PICTURES", 2)
    monkeypatch.setattr("lorakiln.encode.variant_sheet.MOST_VARIANTS", 3)
    encode(uncropped, tmp_path / "out", DRAWN, micro_model)
    assert Image.open(tmp_path / "out" / "variants.png").size == (3 * (CELL + GAP) + GAP, 2 * (CELL + GAP) + GAP)
    assert "variants.png" in contents(tmp_path / "out")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"variants": 2}, "would all be the plain picture"),
        ({"crop": "random"}, "crop without variants"),
        ({"hue": 10.0, "gamma": 0.1}, "hue, gamma without variants"),
    ],
)
def test_settings_that_mean_nothing_are_refused(given, problem):
    with pytest.raises(ConfigError, match=problem):
        check(EncodeSettings, {"augment": given}, "encode")


def test_variants_are_listed_as_they_are_stored():
    assert list_variants(EncodeSettings()) == ("plain",)
    assert list_variants(EncodeSettings(flip=True)) == ("plain", "flip")
    assert list_variants(EncodeSettings(augment={"variants": 2, "hue": 1.0})) == ("plain", "augment1", "augment2")
