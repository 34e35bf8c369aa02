"""Folders and names that cannot be used, and folders without pictures."""

import os

import pytest

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.console.errors import UserError
from lorakiln.prepare import prepare


def test_no_folder_names_the_nearest_with_pictures(tmp_path, settings, noise):
    for name in ("dogs", "my_cats", "empty"):
        (tmp_path / "raw" / name).mkdir(parents=True)
    noise(64, 64).save(tmp_path / "raw" / "dogs" / "a.png")
    noise(64, 64).save(tmp_path / "raw" / "my_cats" / "a.jpg")
    with pytest.raises(UserError, match="no such folder") as caught:
        prepare(tmp_path / "raw" / "my_cat", tmp_path / "out", settings())
    assert f"the nearest with pictures is {tmp_path / 'raw' / 'my_cats'}" in str(caught.value)
    with pytest.raises(UserError, match=r"no pictures here .*\(files: none\)"):
        prepare(tmp_path / "raw" / "empty", tmp_path / "out", settings())


def test_a_folder_without_pictures_says_what_it_holds(tmp_path, settings):
    (tmp_path / "raw").mkdir()
    for name in ("a.txt", "b.txt", "c.md", "LICENSE", ".hidden.png"):
        (tmp_path / "raw" / name).touch()
    with pytest.raises(UserError, match="2 .txt, 1 .md, 1 without an ending") as caught:
        prepare(tmp_path / "raw", tmp_path / "out", settings())
    assert str(caught.value).startswith(str(tmp_path / "raw"))


def test_wrong_kinds_of_folders(tmp_path, settings):
    (tmp_path / "raw.zip").touch()
    with pytest.raises(UserError, match="a file, not a folder"):
        prepare(tmp_path / "raw.zip", tmp_path / "out", settings())
    (tmp_path / "mine.dvc").touch()
    with pytest.raises(UserError, match="dvc pull"):
        prepare(tmp_path / "mine", tmp_path / "out", settings())
    (tmp_path / "raw").mkdir()
    with pytest.raises(UserError, match="cannot lie in the dataset's own folder"):
        prepare(tmp_path / "raw", tmp_path / "raw" / "out", settings())


def test_names_that_could_garble_a_terminal(tmp_path, settings, noise, capfd):
    raw = tmp_path / "raw"
    raw.mkdir()
    names = [
        "new\nline.png",
        "left\u202egnp.png",
        "quo'te\".png",
        "red\x1b[31m.png",
        "-rf.png",
        "$(touch owned).png",
        "a b.png",
    ]
    for seed, name in enumerate(names):
        noise(64, 64, seed).save(raw / name)
        (raw / f"{name}.jpg").touch()
    prepare(raw, tmp_path / "out", settings(on_bad="skip"))
    assert [row["source"] for row in read_jsonl(tmp_path / "out" / "metadata.jsonl")] == sorted(names)
    printed = capfd.readouterr().err
    assert "    new\\nline.png.jpg" in printed and "    left\\u202egnp.png.jpg" in printed
    assert "\x1b" not in printed and "\u202e" not in printed
    assert len(read_jsonl(tmp_path / "out" / "quarantine.jsonl")) == len(names)


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_folder_of_a_hundred_thousand_files_is_listed_in_seconds(tmp_path):
    import time

    from lorakiln.sources.folder.scan import scan

    for number in range(100_000):
        os.close(os.open(tmp_path / f"{number}.png", os.O_CREAT | os.O_WRONLY))
    began = time.process_time()
    assert len(scan(tmp_path).pictures) == 100_000
    assert time.process_time() - began < 15


def test_pictures_without_their_endings_are_told_by_what_they_hold(tmp_path, settings, noise, capsys):
    raw = tmp_path / "raw"
    raw.mkdir()
    kinds = {"f3a90": "JPEG", "b.jpg_large": "JPEG", "c.webp?w=300": "WEBP", "d.png~orig": "PNG", "e": "GIF"}
    for name, kind in kinds.items():
        noise(64, 64, len(name)).save(raw / name, kind)
    (raw / "notes").write_text("no picture")
    (raw / "f.jpg_large").write_text("no picture")
    noise(64, 64).save(raw / "hidden.txt", "PNG")  # a caption file's name
    with pytest.raises(UserError, match="5 are pictures by what they hold") as caught:
        prepare(raw, tmp_path / "out", settings())
    assert "rename b.jpg_large to b.jpg, and so on" in caught.value.fix
    noise(64, 64).save(raw / "a.png")
    prepare(raw, tmp_path / "out", settings())
    told = capsys.readouterr().err
    assert "are not taken; rename them (5):\n  b.jpg_large -> b.jpg\n  c.webp?w=300 -> c.webp\n" in told
    assert "  d.png~orig -> d.png\n  e -> e.gif\n  f3a90 -> f3a90.jpg\n" in told and "notes" not in told
