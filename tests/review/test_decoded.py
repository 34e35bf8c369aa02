"""What `prepare` has found is told in the review: what is blurred, and which pictures look the same."""

import os

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


def test_what_is_blurred_is_told(raw, rules, tmp_path):
    (raw / "broken.png").unlink()
    prepare(raw, tmp_path / "prepared", rules.prepare.model_copy(update={"workers": 1}))

    def look(**changes):
        settings = rules.prepare.model_copy(update=changes)
        return open_collection(raw, Rules(settings, prepared=tmp_path / "prepared")).pictures["b.png"].findings

    assert look(blurred_above=0.0)[0].startswith("blurred (0.")
    off = FindingSettings(blurred="off")
    assert not any("blurred" in one for one in look(blurred_above=0.0, findings=off))
