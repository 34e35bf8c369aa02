"""`lorakiln captions`: files in another encoding or with other words, shown before they are written."""

import pytest

from lorakiln.cli import main
from lorakiln.tools.caption_files import tidy_commas


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.txt").write_text("Cat, a red cat, concatenated")
    (tmp_path / "deep" / "b.TXT").write_bytes("一只小狗, 蓝天".encode("gbk"))
    return tmp_path


def test_what_is_not_utf8_is_shown_and_then_written(folder, capsys):
    before = (folder / "deep" / "b.TXT").read_bytes()
    assert main(["captions", "reencode", str(folder), "--from", "gbk"]) == 0
    assert "deep/b.TXT\n  + 一只小狗, 蓝天\n1 files; nothing is written yet" in capsys.readouterr().out
    assert (folder / "deep" / "b.TXT").read_bytes() == before
    assert main(["captions", "reencode", str(folder), "--from", "gbk", "--write"]) == 0
    assert (folder / "deep" / "b.TXT").read_text(encoding="utf-8") == "一只小狗, 蓝天"
    assert (folder / "a.txt").read_text() == "Cat, a red cat, concatenated"
    assert main(["captions", "reencode", str(folder), "--from", "gbk"]) == 1
    assert "all caption files here are UTF-8" in capsys.readouterr().err


def test_utf16_without_its_mark_is_mended_too(tmp_path, capsys):
    (tmp_path / "a.txt").write_bytes("a red cat".encode("utf-16-le"))
    assert main(["captions", "reencode", str(tmp_path), "--from", "utf-8"]) == 1
    assert "it could be utf-16-le, utf-16-be" in capsys.readouterr().err
    assert main(["captions", "reencode", str(tmp_path), "--from", "utf-16-le", "--write"]) == 0
    assert (tmp_path / "a.txt").read_text() == "a red cat"


@pytest.mark.parametrize(
    ("encoding", "message"), [("klingon", "no such encoding"), ("ascii", "it could be gb18030, big5, cp949")]
)
def test_a_wrong_encoding_writes_nothing(folder, capsys, encoding, message):
    before = (folder / "deep" / "b.TXT").read_bytes()
    assert main(["captions", "reencode", str(folder), "--from", encoding, "--write"]) == 1
    assert message in capsys.readouterr().err
    assert (folder / "deep" / "b.TXT").read_bytes() == before


def test_words_are_replaced_whole_and_a_removed_tag_takes_its_comma_along(folder, capsys):
    (folder / "deep" / "b.TXT").unlink()
    assert main(["captions", "replace", str(folder), "cat", "dog"]) == 0
    assert "  + dog, a red dog, concatenated" in capsys.readouterr().out
    assert main(["captions", "replace", str(folder), "a red cat", "", "--write"]) == 0
    assert (folder / "a.txt").read_text() == "Cat, concatenated"
    assert main(["captions", "replace", str(folder), r"con(cat)\w+", r"\1", "--pattern", "--write"]) == 0
    assert (folder / "a.txt").read_text() == "Cat, cat"
    assert main(["captions", "replace", str(folder), "(", "x", "--pattern"]) == 1
    assert main(["captions", "replace", str(folder), "horse", "x"]) == 1
    assert "no caption has 'horse'" in capsys.readouterr().err


def test_tags_are_counted_once_a_caption(folder, capsys):
    (folder / "deep" / "b.TXT").write_text("cat, cat, tree")
    assert main(["captions", "stats", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("2 captions, 5 different tags\n") and "     1   50%  tree" in out
    assert main(["captions", "stats", str(folder / "deep" / "none")]) == 1


@pytest.mark.parametrize(("text", "expected"), [("a, , b,", "a, b"), (", a", "a"), ("a,b\n,c", "a, b\nc")])
def test_commas_are_tidied(text, expected):
    assert tidy_commas(text) == expected
