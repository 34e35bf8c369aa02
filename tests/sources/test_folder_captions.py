"""Captions that people have: beside the pictures, in tables, as tags; in any encoding that can be known."""

import json

import pytest

from lorakiln.sources import CaptionProblem, open_source
from lorakiln.sources.folder.captions import PRECEDENCE
from lorakiln.sources.folder.encodings import list_readings
from lorakiln.sources.folder.metadata import CaptionTables
from lorakiln.sources.folder.tags import read_tags


@pytest.fixture
def read(tmp_path):
    """Gives a picture's (file, caption or what is wrong with it), (None, None) where there is none."""

    def read_caption(picture, precedence=PRECEDENCE):
        captions = open_source(tmp_path).captions([".txt", ".caption"], precedence)
        name = captions.find(picture)
        found = captions.read(name, picture) if name else None
        return name, found.what if isinstance(found, CaptionProblem) else found

    return read_caption


@pytest.mark.parametrize("name", ["a.txt", "a.TXT", "a.Txt", "a.caption", "a.CAPTION"])
def test_an_ending_is_known_in_any_case(tmp_path, read, name):
    (tmp_path / name).write_text("a red cat")
    assert read("a.PNG") == (name, "a red cat")


def test_the_exact_ending_wins_and_another_pictures_file_is_none(tmp_path, read):
    (tmp_path / "a.TXT").write_text("loud")
    (tmp_path / "a.txt").write_text("quiet")
    (tmp_path / "B.txt").write_text("another's")
    assert read("a.png") == ("a.txt", "quiet")
    assert read("b.png") == (None, None)
    found = open_source(tmp_path).captions([".txt"], PRECEDENCE).without_picture(["a.png", "b.png"])
    assert list(found) == ["B.txt"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("a red cat".encode("utf-16"), "a red cat"),
        (b"\xfe\xff" + "a red cat".encode("utf-16-be"), "a red cat"),
        ("﻿a red cat".encode(), "a red cat"),
        (b"a red\r\ncat\r", "a red cat"),
        ("a red cat".encode("utf-16-le"), "holds NUL bytes: no text, or UTF-16 without its mark"),
        ("красная кошка".encode("cp1251"), "is not UTF-8; it may be"),
        (b"\xff\xfe", "empty"),
    ],
)
def test_encodings(tmp_path, read, content, expected):
    (tmp_path / "a.txt").write_bytes(content)
    assert read("a.png") == ("a.txt", expected)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("красная кошка", "cp1251"),
        ("一只小狗在草地上", "gb18030"),
        ("赤い猫が座っている", "cp932"),
        ("une café rouge", "cp1252"),
        ("빨간 고양이", "cp949"),
        ("zażółć gęślą jaźń", "cp1250"),
        ("赤い猫が座っている", "euc_jp"),
        ("a red cat", "utf-16-le"),
        ("a red cat", "utf-16-be"),
    ],
)
def test_the_true_reading_is_among_those_that_are_shown(text, encoding):
    readings = list_readings(text.encode(encoding))
    assert readings[encoding] == text
    assert len(set(readings.values())) == len(readings)


def write_table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_table_captions_the_pictures_that_it_names(tmp_path, read):
    write_table(
        tmp_path / "metadata.jsonl",
        [
            {"file_name": "a.png", "text": "of the  table"},
            {"file_name": "deep/b.png", "text": "from above"},
            {"file_name": "./c.png", "caption": "by another name"},
            {"file_name": "e.png", "text": " "},
        ],
    )
    write_table(tmp_path / "deep" / "metadata.jsonl", [{"file_name": "d.png", "text": "near"}])
    assert read("a.png") == ("metadata.jsonl", "of the table")
    assert read("deep/b.png") == ("metadata.jsonl", "from above")
    assert read("deep/d.png") == ("deep/metadata.jsonl", "near")
    assert read("c.png") == ("metadata.jsonl", "by another name")
    assert read("e.png") == ("metadata.jsonl", "empty")
    assert read("f.png") == (None, None)
    lonely = open_source(tmp_path).captions([".txt"], PRECEDENCE).without_picture(["a.png", "deep/b.png", "deep/d.png"])
    assert list(lonely) == ["metadata.jsonl: c.png", "metadata.jsonl: e.png"]


def test_a_csv_is_such_a_table(tmp_path, read):
    (tmp_path / "metadata.csv").write_text('file_name,text\na.png,"red, with\nstripes"\n')
    assert read("a.png") == ("metadata.csv", "red, with stripes")


KOHYA = {"a": {"caption": "a dog", "tags": "solo, grass"}, "deep/b.jpg": {"tags": "1girl"}, "c": {"caption": "a cat"}}


@pytest.mark.parametrize("start", ["", "/home/me/train/", "C:\\train\\"])
def test_kohyas_metadata_is_such_a_table(tmp_path, read, start):
    """Its names have no endings, or are whole paths, of a machine with slashes or one with backslashes."""
    named = {start + (name.replace("/", "\\") if "\\" in start else name): row for name, row in KOHYA.items()}
    (tmp_path / "meta_cap_dd.json").write_text(json.dumps(named))
    assert [read(name) for name in ("a.png", "deep/b.jpg", "c.webp")] == [
        ("meta_cap_dd.json", "a dog, solo, grass"),
        ("meta_cap_dd.json", "1girl"),
        ("meta_cap_dd.json", "a cat"),
    ]
    tables = CaptionTables(tmp_path, False)
    assert list(tables.without_picture({"a.png", "deep/b.jpg"})) == ["meta_cap_dd.json: c"]
    # The one that its scripts write after it.
    (tmp_path / "meta_clean.json").write_text('{"a": {"caption": "a small dog"}}')
    assert read("a.png") == ("meta_clean.json", "a small dog") and read("c.webp")[0] == "meta_cap_dd.json"


def test_kohyas_lines_are_such_a_table(tmp_path, read):
    rows = [
        {"image_path": "/data/set/a.png", "caption": "a dog", "tags": "solo", "image_size": [512, 512]},
        {"image_path": "/data/set/deep/b.png", "caption": "", "tags": "1girl"},
    ]
    write_table(tmp_path / "metadata.jsonl", rows)
    assert read("a.png") == ("metadata.jsonl", "a dog, solo")
    assert read("deep/b.png") == ("metadata.jsonl", "1girl")


def test_another_programs_metadata_is_no_table(tmp_path, read):
    (tmp_path / "metadata.json").write_text('{"info": {"version": 1}, "a": [1]}')
    assert read("a.png") == (None, None)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ('{"file_name": "a.png", "text"', "is damaged"),
        ("[1]", "is damaged"),
        ('{"file_name": "a.png", "label": 3}', "has no captions"),
        ("é".encode("latin-1"), "is not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_table_is_told(tmp_path, read, content, what):
    (tmp_path / "metadata.jsonl").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert read("a.png") == ("metadata.jsonl", what)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"tag_string": "1girl solo long_hair", "rating": "s"}, "1girl, solo, long hair"),
        ({"tags": ["1girl", "solo", "^_^"]}, "1girl, solo, ^_^"),
        ({"tags": "1girl solo"}, "1girl, solo"),
        ({"tags": "long hair, solo"}, "long hair, solo"),
        ({"tags": {"general": ["standing"], "species": ["cat"], "artist": ["me"]}}, "cat, standing"),
        ({"tag_string_general": "solo", "tag_string_character": "miku"}, "miku, solo"),
        ({"title": "IMG_1.jpg", "geoData": {"latitude": 0.0}}, None),
        ([1, 2], None),
    ],
)
def test_tags(data, expected):
    assert read_tags(json.dumps(data)) == expected


def test_tags_are_found_by_either_name_and_other_json_is_none_of_them(tmp_path, read):
    (tmp_path / "a.json").write_text('{"tags": ["1girl"]}')
    (tmp_path / "b.jpg.json").write_text('{"tag_string": "solo"}')
    (tmp_path / "c.jpg.json").write_text('{"title": "where it was made"}')
    (tmp_path / "d.json").write_text("{")
    assert [read(f"{name}.jpg") for name in "abcd"] == [
        ("a.json", "1girl"),
        ("b.jpg.json", "solo"),
        (None, None),
        ("d.json", "is no JSON"),
    ]


def test_precedence_is_as_it_is_set(tmp_path, read):
    (tmp_path / "a.txt").write_text("own")
    write_table(tmp_path / "metadata.jsonl", [{"file_name": "a.png", "text": "row"}])
    (tmp_path / "a.json").write_text('{"tags": "tag"}')
    assert read("a.png") == ("a.txt", "own")
    assert read("a.png", ["metadata", "sidecar"]) == ("metadata.jsonl", "row")
    assert read("a.png", ["tags"]) == ("a.json", "tag")
    assert read("a.png", []) == (None, None)
