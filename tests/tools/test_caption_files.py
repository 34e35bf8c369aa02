"""`lorakiln captions`: files in another encoding or with other words, shown before they are written."""

import pytest

from lorakiln.cli import main
from lorakiln.schema.picture_edit import PictureEdit
from lorakiln.sources.folder.edits import read_edit
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
    assert "deep/b.TXT\n  + 一只小狗, 蓝天\n1 file; nothing is written yet" in capsys.readouterr().out
    assert (folder / "deep" / "b.TXT").read_bytes() == before
    assert main(["captions", "reencode", str(folder), "--from", "gbk", "--yes"]) == 0
    assert (folder / "deep" / "b.TXT").read_text(encoding="utf-8") == "一只小狗, 蓝天"
    assert (folder / "a.txt").read_text() == "Cat, a red cat, concatenated"
    assert main(["captions", "reencode", str(folder), "--from", "gbk"]) == 1
    assert "all caption files here are UTF-8" in capsys.readouterr().err


def test_of_several_encodings_each_has_its_own_files(folder, capsys):
    (folder / "ja.txt").write_bytes("赤い犬、芝生".encode("cp932"))
    (folder / "ru.txt").write_bytes("красная собака".encode("cp1251"))
    assert main(["captions", "reencode", str(folder), "--from", "gbk", "--yes"]) == 1
    assert "list behind FOLDER only the files that are in this one" in capsys.readouterr().err
    for encoding, file in (("gbk", "deep/b.TXT"), ("cp932", folder / "ja.txt"), ("cp1251", "ru.txt")):
        assert main(["captions", "reencode", str(folder), str(file), "--from", encoding, "--yes"]) == 0
    assert (folder / "deep/b.TXT").read_text() == "一只小狗, 蓝天"
    assert (folder / "ja.txt").read_text() == "赤い犬、芝生" and (folder / "ru.txt").read_text() == "красная собака"
    assert main(["captions", "reencode", str(folder), "ru.txt", "--from", "gbk"]) == 1
    assert "all of these are UTF-8" in capsys.readouterr().err
    assert main(["captions", "reencode", str(folder), "none.txt", "--from", "gbk"]) == 1
    assert "none.txt: no caption file of the folder" in capsys.readouterr().err


def test_utf16_without_its_mark_is_mended_too(tmp_path, capsys):
    (tmp_path / "a.txt").write_bytes("a red cat".encode("utf-16-le"))
    assert main(["captions", "reencode", str(tmp_path), "--from", "utf-8"]) == 1
    assert "it could be utf-16-le, utf-16-be" in capsys.readouterr().err
    assert main(["captions", "reencode", str(tmp_path), "--from", "utf-16-le", "--yes"]) == 0
    assert (tmp_path / "a.txt").read_text() == "a red cat"


@pytest.mark.parametrize(
    ("encoding", "message"), [("klingon", "no such encoding"), ("ascii", "it could be gb18030, big5, cp949")]
)
def test_a_wrong_encoding_writes_nothing(folder, capsys, encoding, message):
    before = (folder / "deep" / "b.TXT").read_bytes()
    assert main(["captions", "reencode", str(folder), "--from", encoding, "--yes"]) == 1
    assert message in capsys.readouterr().err
    assert (folder / "deep" / "b.TXT").read_bytes() == before


def test_words_are_replaced_whole_and_a_removed_tag_takes_its_comma_along(folder, capsys):
    (folder / "deep" / "b.TXT").unlink()
    assert main(["captions", "replace", str(folder), "cat", "dog"]) == 0
    assert "  + dog, a red dog, concatenated" in capsys.readouterr().out
    assert main(["captions", "replace", str(folder), "a red cat", "", "--yes"]) == 0
    assert (folder / "a.txt").read_text() == "Cat, concatenated"
    assert main(["captions", "replace", str(folder), r"con(cat)\w+", r"\1", "--regex", "--yes"]) == 0
    assert (folder / "a.txt").read_text() == "Cat, cat"
    assert main(["captions", "replace", str(folder), "(", "x", "--regex"]) == 1
    assert main(["captions", "replace", str(folder), "horse", "x"]) == 1
    assert "no caption has 'horse'" in capsys.readouterr().err


def test_captions_of_hand_edits_are_counted_and_replaced_and_the_rest_of_the_edit_stays(tmp_path, capsys):
    edit = tmp_path / "deep" / "a.png.edit.yaml"
    edit.parent.mkdir()
    edit.write_text("caption: a red cat, solo\ncrop: [0, 0, 8, 8]\n")
    (tmp_path / "b.png.edit.yaml").write_text("excluded: true\n")
    assert main(["captions", "stats", str(tmp_path)]) == 0
    assert "1 caption, 2 different tags" in capsys.readouterr().out
    (tmp_path / "c.txt").write_text("a red cat")
    assert main(["captions", "replace", str(tmp_path), "red cat", "ginger: cat", "--yes"]) == 0
    assert "deep/a.png.edit.yaml\n  - a red cat, solo\n  + a ginger: cat, solo" in capsys.readouterr().out
    assert read_edit(tmp_path, "deep/a.png") == PictureEdit(caption="a ginger: cat, solo", crop=[0, 0, 8, 8])
    assert (tmp_path / "c.txt").read_text() == "a ginger: cat"
    # Nothing is written where a hand edit would be left without a text: another caption would count then.
    assert main(["captions", "replace", str(tmp_path), ".*ginger.*", "", "--regex"]) == 1
    assert "c.txt: would have no caption left" in capsys.readouterr().err
    assert (tmp_path / "c.txt").read_text() == "a ginger: cat" and "ginger" in edit.read_text()
    assert (tmp_path / "b.png.edit.yaml").read_text() == "excluded: true\n"
    # One picture, one caption: a hand edit wins over the file beside it, and hidden files are no edits.
    (tmp_path / "deep" / "a.txt").write_text("a dog")
    (tmp_path / "deep" / "._a.png.edit.yaml").write_bytes(b"\0\5")
    assert main(["captions", "stats", str(tmp_path)]) == 0
    assert "2 captions, 2 different tags" in capsys.readouterr().out


def test_a_linked_hand_edit_goes_on_to_lead_there(tmp_path):
    (tmp_path / "shared.yaml").write_text("caption: a red cat\n")
    (tmp_path / "a.png.edit.yaml").symlink_to("shared.yaml")
    assert main(["captions", "replace", str(tmp_path), "red", "blue", "--yes"]) == 0
    assert (tmp_path / "a.png.edit.yaml").is_symlink()
    assert (tmp_path / "shared.yaml").read_text() == "caption: a blue cat\n"


def test_where_there_are_no_captions_it_says_where_a_tables_are(tmp_path, capsys):
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "a cat"}\n')
    assert main(["captions", "stats", str(tmp_path)]) == 1
    assert "captions of a table (metadata.jsonl, .csv, .json) are changed in it" in capsys.readouterr().err


def test_tags_are_counted_once_a_caption(folder, capsys):
    (folder / "deep" / "b.TXT").write_text("cat, cat, tree")
    assert main(["captions", "stats", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("2 captions, 5 different tags\n") and "     1   50%  tree" in out
    assert main(["captions", "stats", str(folder / "deep" / "none")]) == 1


@pytest.mark.parametrize(("text", "expected"), [("a, , b,", "a, b"), (", a", "a"), ("a,b\n,c", "a, b\nc")])
def test_commas_are_tidied(text, expected):
    assert tidy_commas(text) == expected


@pytest.mark.parametrize(
    ("before", "old", "new", "after"),
    [
        (b"1girl, solo, Long  Hair\r\nsolo\r\n", "long hair", "short hair", b"1girl, solo, short hair\r\nsolo\r\n"),
        (b"1girl, solo, a solo cat\r\n", "solo", "", b"1girl, a solo cat\r\n"),
        ("\ufeffé, solo\n".encode("utf-16-le"), "solo", "duo", "\ufeffé, duo\n".encode("utf-16-le")),
        ("\ufeffé, solo".encode("utf-16-be"), "solo", "猫", "\ufeffé, 猫".encode("utf-16-be")),
        (b"\xef\xbb\xbfsolo, a\rb", "solo", "duo", b"\xef\xbb\xbfduo, a\rb"),
        (b"solo, duo, solo", "solo", "Duo", b"duo"),  # no tag comes twice
    ],
    ids=["line ends", "removed", "UTF-16", "big end first", "mark", "twice"],
)
def test_a_tag_is_replaced_and_all_else_stays(tmp_path, before, old, new, after):
    (tmp_path / "a.txt").write_bytes(before)
    assert main(["captions", "replace", str(tmp_path), old, new, "--tag", "--yes"]) == 0
    assert (tmp_path / "a.txt").read_bytes() == after


def test_removed_words_leave_line_ends_as_they_are(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"a, red cat, b\r\nred cat, c\r\n")
    assert main(["captions", "replace", str(tmp_path), "red cat", "", "--yes"]) == 0
    assert (tmp_path / "a.txt").read_bytes() == b"a, b\r\nc\r\n"


def test_a_link_goes_on_to_lead_to_its_caption(tmp_path):
    (tmp_path / "kept").write_text("solo")
    (tmp_path / "a.txt").symlink_to("kept")
    assert main(["captions", "replace", str(tmp_path), "solo", "duo", "--yes"]) == 0
    assert (tmp_path / "a.txt").is_symlink() and (tmp_path / "kept").read_text() == "duo"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a", r"\1", "--regex"], "invalid group reference"),
        (["a", r"\g<b>", "--regex"], "unknown group name"),
        (["a, b", "c", "--tag"], "no tag"),
        (["a", "b", "--tag", "--regex"], "leave one out"),
    ],
)
def test_what_cannot_be_meant_is_refused(folder, capsys, words, message):
    (folder / "deep" / "b.TXT").unlink()
    assert main(["captions", "replace", str(folder), *words, "--yes"]) == 1
    assert message in capsys.readouterr().err
    assert (folder / "a.txt").read_text() == "Cat, a red cat, concatenated"


def test_words_lengths_and_the_triggers_share_are_told(folder, micro_model, capsys):
    (folder / "deep" / "b.TXT").write_text("sks cat, red blue cat")
    told = ["--words", "--trigger", "sks cat", "--base", micro_model.path]
    assert main(["captions", "stats", str(folder), *told]) == 0
    out = capsys.readouterr().out
    assert "2 captions, 6 different words\n1 of them (50%) have the trigger words 'sks cat'\n" in out
    # s, k, s, cat, the comma and three words; "concatenated" are 11, all single letters but for "ca", and six others.
    assert "tokens: 8 to 17, half of them at most 8; 0 have more than" in out
    assert "     2  100%  cat" in out and "     1   50%  blue" in out
