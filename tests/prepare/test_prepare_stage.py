"""The folder as a whole: its rows, its bytes, and what is made again."""

import shutil

import numpy as np
import pytest
from PIL import Image

from lorakiln.artefacts.hashing import hash_file
from lorakiln.artefacts.json_files import read_json, read_jsonl
from lorakiln.prepare import picture as picture_module
from lorakiln.prepare import prepare


@pytest.fixture
def raw(tmp_path, noise):
    raw = tmp_path / "raw"
    (raw / "deep er").mkdir(parents=True)
    (raw / ".hidden").mkdir()
    noise(64, 64, 1).save(raw / "one.PNG")
    noise(160, 96, 2).save(raw / "two.jpg")
    noise(20, 20, 3).save(raw / "deep er" / "\u00e9t\u00e9 \U0001f33b.webp", lossless=True)
    noise(64, 64, 4).save(raw / "lies.jpg", "PNG")
    shutil.copy(raw / "one.PNG", raw / "copy.png")
    noise(64, 64, 5).save(raw / ".hidden" / "x.png")
    noise(64, 64, 5).save(raw / ".x.png")
    (raw / "one.txt").write_text("a caption")
    return raw


@pytest.fixture
def decoded(monkeypatch):
    """Which files were decoded."""
    names, decode = [], picture_module.decode

    def counted(path, settings, **more):
        names.append(path.name)
        return decode(path, settings, **more)

    monkeypatch.setattr(picture_module, "decode", counted)
    return names


def test_rows_say_what_was_done(tmp_path, raw, settings, capfd):
    prepare(raw, tmp_path / "out", settings())
    rows = {row["file_name"]: row for row in read_jsonl(tmp_path / "out" / "metadata.jsonl")}
    sunflower = "deep er/\u00e9t\u00e9 \U0001f33b.png"
    assert list(rows) == ["copy.png", sunflower, "lies.png", "one.png", "two.png"]
    for name, row in rows.items():
        with Image.open(tmp_path / "out" / name) as image:
            assert image.size == (row["width"], row["height"]) and image.mode == "RGB" and image.info == {}
        assert row["bucket"] == f"{row['width']}x{row['height']}"
        assert row["sha256"] == hash_file(raw / row["source"])
    two = rows["two.png"]
    assert (two["source"], two["source_width"], two["source_height"]) == ("two.jpg", 160, 96)
    assert (two["bucket"], two["resized"], two["crop"], two["scale"]) == (
        "80x48",
        [80, 48],
        [0, 0, 80, 48],
        0.5,
    )
    assert rows["lies.png"]["notes"] == ["named .jpg, is PNG"]
    assert rows[sunflower]["notes"] == [] and rows[sunflower]["scale"] == 3.2
    assert np.array_equal(Image.open(tmp_path / "out" / "one.png"), Image.open(raw / "one.PNG"))
    printed = capfd.readouterr()
    assert "copy.png = one.PNG" in printed.err and f"{sunflower} (3.2 times)" in printed.err
    assert (
        "prepare: 5 pictures (0 reused) in 2 buckets (64x64: 4, 80x48: 1); 0 quarantined, 1 enlarged more than 2 "
        "times; other files: 1 .txt" in printed.out
    )


def test_dataset_facts(tmp_path, raw, settings):
    prepare(raw, tmp_path / "out", settings())
    facts = read_json(tmp_path / "out" / "dataset.json")
    assert facts["name"] == "raw" and facts["pictures"] == 5 and facts["quarantined"] == 0
    assert facts["buckets"] == {"64x64": 4, "80x48": 1}
    assert facts["settings"]["prepare"] == settings().model_dump(mode="json")
    assert (tmp_path / "out" / "quarantine.jsonl").read_bytes() == b""
    # The identity is the pictures' and the geometry's, whatever the names are.
    (raw / "two.jpg").rename(raw / "renamed.jpg")
    prepare(raw, tmp_path / "out", settings(max_aspect=3))
    assert read_json(tmp_path / "out" / "dataset.json")["hash"] == facts["hash"]
    prepare(raw, tmp_path / "out", settings(background="black"))
    assert read_json(tmp_path / "out" / "dataset.json")["hash"] != facts["hash"]


def test_several_processes_give_the_bytes_of_one(tmp_path, raw, settings, contents):
    prepare(raw, tmp_path / "one" / "out", settings(workers=None))
    prepare(raw, tmp_path / "two" / "out", settings(workers=2))
    one, two = contents(tmp_path / "one" / "out"), contents(tmp_path / "two" / "out")
    assert one.pop("dataset.json") != two.pop("dataset.json")  # it holds prepare.workers
    assert one == two and len(one) == 7


def test_incremental_equals_fresh_and_decodes_what_is_new_alone(tmp_path, raw, settings, contents, decoded, noise):
    prepare(raw, tmp_path / "out", settings())
    assert len(decoded) == 5
    decoded.clear()
    prepare(raw, tmp_path / "out", settings())
    assert decoded == []
    noise(100, 80, 9).save(raw / "new.png")
    noise(100, 80, 8).save(raw / "two.jpg")
    (raw / "one.PNG").rename(raw / "moved.png")
    (raw / "lies.jpg").unlink()
    prepare(raw, tmp_path / "out", settings())
    assert decoded == ["new.png", "two.jpg"]
    prepare(raw, tmp_path / "fresh", settings())
    assert contents(tmp_path / "out") == contents(tmp_path / "fresh")


def test_a_picture_that_is_named_rightly_now_loses_its_note(tmp_path, raw, settings, contents, decoded):
    prepare(raw, tmp_path / "out", settings())
    (raw / "lies.jpg").rename(raw / "lies.png")
    decoded.clear()
    prepare(raw, tmp_path / "out", settings())
    prepare(raw, tmp_path / "fresh", settings())
    assert decoded[:1] == ["lies.png"] and contents(tmp_path / "out") == contents(tmp_path / "fresh")


@pytest.mark.parametrize("damage", [None, "json", "png"])
def test_what_a_stopped_run_has_made_is_not_made_again(tmp_path, raw, settings, contents, decoded, monkeypatch, damage):
    (raw / "copy.png").unlink()
    prepare(raw, tmp_path / "whole", settings())
    whole, decoded[:] = len(decoded), []
    decode = picture_module.decode

    def stopping(path, options, **more):
        if len(decoded) == 3:
            raise SystemExit(143)
        return decode(path, options, **more)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(picture_module, "decode", stopping)
        prepare(raw, tmp_path / "out", settings())
    assert not (tmp_path / "out").exists()
    if damage:  # by a power cut
        file = sorted((tmp_path / ".out.kept").glob(f"*.{damage}"))[0]
        file.write_bytes(file.read_bytes()[:-20])
    decoded.clear()
    prepare(raw, tmp_path / "out", settings())
    assert len(decoded) == whole - (2 if damage else 3)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert not list(tmp_path.glob(".*"))


def test_what_was_changed_in_the_output_or_the_settings_is_made_again(tmp_path, raw, settings, contents, decoded):
    prepare(raw, tmp_path / "out", settings())
    before = contents(tmp_path / "out")
    Image.new("RGB", (64, 64)).save(tmp_path / "out" / "lies.png")
    decoded.clear()
    prepare(raw, tmp_path / "out", settings())
    assert decoded == ["lies.jpg"] and contents(tmp_path / "out") == before
    (tmp_path / "out" / "metadata.jsonl").write_text("{damaged")
    prepare(raw, tmp_path / "out", settings())
    assert contents(tmp_path / "out") == before
    decoded.clear()
    prepare(raw, tmp_path / "out", settings(background="black"))
    assert len(decoded) == 5


def test_a_tighter_limit_refuses_what_was_accepted(tmp_path, raw, settings):
    prepare(raw, tmp_path / "out", settings())
    prepare(raw, tmp_path / "out", settings(min_side=30, on_bad="skip"))
    rows = read_jsonl(tmp_path / "out" / "quarantine.jsonl")
    assert [row["source"] for row in rows] == ["deep er/\u00e9t\u00e9 \U0001f33b.webp"]


def test_a_failed_run_leaves_the_old_folder(tmp_path, raw, settings, contents):
    prepare(raw, tmp_path / "out", settings())
    before = contents(tmp_path / "out")
    (raw / "bad.png").touch()
    with pytest.raises(Exception, match="empty file"):
        prepare(raw, tmp_path / "out", settings())
    assert contents(tmp_path / "out") == before
