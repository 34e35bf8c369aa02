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
