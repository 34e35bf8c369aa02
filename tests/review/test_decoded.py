"""What `prepare` has found is told in the review: what is blurred, black masks, which pictures are or look the same."""

import os
import shutil

import pytest
from PIL import Image

from lorakiln.prepare import prepare
from lorakiln.review.collection import Rules, open_collection
from lorakiln.review.decoded import read_decoded
from lorakiln.schema.prepare import FindingSettings


def test_blurred_and_alike_pictures_are_told_with_their_group(raw, rules, tmp_path):
    (raw / "broken.png").unlink()
    with Image.open(raw / "a.png") as image:
        image.resize((126, 126)).save(raw / "z.png")
    prepared = tmp_path / "prepared"
    settings = rules.prepare.model_copy(update={"workers": 1, "blurred_above": 1.0})  # smooth blots count as blurred
    prepare(raw, prepared, settings)
    found = open_collection(raw, Rules(settings, prepared=prepared)).pictures
    assert {name: one.alike for name, one in found.items() if one.alike} == {"a.png": "a.png", "z.png": "a.png"}
    assert found["a.png"].findings == ("looks like z.png",)
    assert found["z.png"].findings == ("looks like a.png", "no caption")
    assert found["a.png"].to_dict()["alike"] == "a.png" and found["b.png"].to_dict()["alike"] == ""
    # What was changed since then is not told, and nothing is of another dataset or of none.
    later = (prepared / "metadata.jsonl").stat().st_mtime + 5
    os.utime(raw / "z.png", (later, later))
    assert read_decoded(prepared, raw, settings)["a.png"].group == "" and "z.png" not in read_decoded(
        prepared, raw, settings
    )
    assert read_decoded(prepared, tmp_path / "other", settings) == read_decoded(tmp_path / "gone", raw, settings) == {}
    (prepared / "metadata.jsonl").write_text("{")
    assert read_decoded(prepared, raw, settings) == {}


@pytest.fixture
def look(raw, rules, tmp_path):
    """What the review tells of each picture after `prepare`, with some findings off."""
    (raw / "broken.png").unlink()

    def look(**levels):
        found = FindingSettings(blurred="off", **levels)
        settings = rules.prepare.model_copy(update={"workers": 1, "findings": found})
        prepare(raw, tmp_path / "prepared", settings)
        pictures = open_collection(raw, Rules(settings, prepared=tmp_path / "prepared")).pictures
        return {name: (one.findings, one.alike) for name, one in pictures.items()}

    return look


def test_the_same_content_is_told_apart_from_what_looks_like_it(raw, look):
    shutil.copy(raw / "a.png", raw / "y.png")
    (raw / "y.txt").write_text("sks dog")
    with Image.open(raw / "a.png") as image:
        image.resize((126, 126)).save(raw / "z.png")
    (raw / "z.txt").write_text("sks dog")
    told = look()
    assert told["a.png"] == (("the same content as y.png", "looks like z.png"), "a.png")
    assert told["y.png"] == (("the same content as a.png", "looks like z.png"), "a.png")
    assert told["z.png"] == (("looks like a.png, y.png",), "a.png")
    assert look(same_file="off")["a.png"] == (("looks like z.png",), "a.png")
    assert look(look_alike="off")["z.png"] == ((), "")


def test_what_is_in_both_sets_is_told_on_both_sides(raw, look):
    for name in ("10_sks dog", "reg/1_dog"):
        (raw / name).mkdir(parents=True)
    for name in ("a.png", "a.txt", "b.png", "b.txt"):
        (raw / name).rename(raw / "10_sks dog" / name)
    shutil.copy(raw / "10_sks dog/a.png", raw / "reg/1_dog/c.png")
    for other in ("d e [1].png", "e.png", "deep/c.jpg"):
        (raw / other).unlink()
    (raw / "reg/1_dog/c.txt").write_text("dog")
    told = look()
    assert told["10_sks dog/a.png"][0][-1] == "also for regularisation: reg/1_dog/c.png"
    assert told["reg/1_dog/c.png"][0][-1] == "also for training: 10_sks dog/a.png"
    assert told["10_sks dog/b.png"][0] == ()
    assert look(in_both_sets="off", same_file="off", look_alike="off")["10_sks dog/a.png"] == ((), "")


def test_a_black_mask_is_told(raw, look):
    Image.new("L", (128, 128)).save(raw / "masks/a.png")
    assert look()["a.png"][0] == ("masks that are black (masks/a.png)",)
    assert look(black_mask="off")["a.png"][0] == ()


def test_what_is_blurred_is_told(raw, rules, tmp_path):
    (raw / "broken.png").unlink()
    prepare(raw, tmp_path / "prepared", rules.prepare.model_copy(update={"workers": 1}))

    def look(**changes):
        settings = rules.prepare.model_copy(update=changes)
        return open_collection(raw, Rules(settings, prepared=tmp_path / "prepared")).pictures["b.png"].findings

    assert look(blurred_above=0.0)[0].startswith("blurred (0.")
    off = FindingSettings(blurred="off")
    assert not any("blurred" in one for one in look(blurred_above=0.0, findings=off))
