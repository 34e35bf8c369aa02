"""A picture's hand edit is read as it stands, or told as what is wrong with it."""

import os

import pytest

from lorakiln.console.errors import UserError
from lorakiln.sources import CaptionProblem, open_source
from lorakiln.sources.folder.captions import PRECEDENCE
from lorakiln.sources.folder.edits import read_edit

ENDINGS = [".txt", ".caption"]


@pytest.fixture
def write(tmp_path):
    """Writes files below a folder, which it gives."""

    def call(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path

    return call


def test_what_an_edit_says(write):
    raw = write({"a.png.edit.yaml": "caption: a cat\ncrop: [1, 2, 30, 40]\n", "b.png.edit.yaml": "excluded: true\n"})
    edit = read_edit(raw, "a.png")
    assert (edit.caption, edit.box, edit.excluded) == ("a cat", (1, 2, 30, 40), False)
    edit = read_edit(raw, "b.png")
    assert (edit.caption, edit.box, edit.excluded) == (None, None, True)
    assert read_edit(raw, "c.png") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("captoin: a cat\n", "captoin: unknown setting; did you mean caption?"),
        ("crop: [5, 5, 5, 9]\n", "crop: holds no pixels"),
        ("crop: [5, 5, 9]\n", "crop: "),
        ("crop: [-1, 0, 9, 9]\n", "crop.0: "),
        ("crop: [0, 0, 9.5, 9]\n", "crop.2: "),
        ("caption: '  '\n", "caption: no text"),
        ("caption: 7\n", "caption: "),
        ("excluded: 1\n", "excluded: "),
        ("{}\n", "says nothing"),
        ("", "not a list of settings"),
        ("caption: a\ncaption: b\n", "is there twice"),
        ("- a cat\n", "not a list of settings"),
        (b"caption: \xff\n", "is not UTF-8"),
    ],
)
def test_what_is_no_edit_is_told_with_its_file_and_picture(write, text, told):
    raw = write({"deep/a.png": b"", "b.png": b"", "deep/a.png.edit.yaml": text})
    with pytest.raises(UserError) as error:
        read_edit(raw, "deep/a.png")
    assert error.value.where == "deep/a.png.edit.yaml" and told in error.value.what
    found = open_source(raw).scan()
    assert found.pictures == ["b.png"]
    (bad,) = found.bad
    assert bad.source == "deep/a.png" and bad.detail.startswith("deep/a.png.edit.yaml: ") and told in bad.detail


def test_an_edit_is_opened_only_where_it_is_a_file_of_the_dataset(write, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "x.yaml"
    outside.write_text("caption: from elsewhere\n")
    raw = write({"a.png": b"", "b.png": b"", "c.png": b""})
    (raw / "a.png.edit.yaml").symlink_to(outside)
    (raw / "b.png.edit.yaml").mkdir()
    os.mkfifo(raw / "c.png.edit.yaml")
    for name in ("a.png", "b.png", "c.png"):
        with pytest.raises(UserError):
            read_edit(raw, name)
    assert read_edit(raw, "a.png", follow_links=True).caption == "from elsewhere"


def test_the_scan_leaves_out_what_is_excluded_with_its_mask(write):
    files = dict.fromkeys(("a.png", "b.png", "c.png", "c.jpg", "masks/a.png", "masks/b.png"), b"")
    edits = {"a.png.edit.yaml": "excluded: true", "b.png.edit.yaml": "caption: b", "c.jpg.edit.yaml": "excluded: true"}
    found = open_source(write({**files, **edits, "gone.png.edit.yaml": "caption: x", "b.png.edit.yml": "x: 1"})).scan()
    # c.png could not be told from c.jpg, which is out of the way.
    assert found.pictures == ["b.png", "c.png"] and not found.bad
    assert found.excluded == ["a.png", "c.jpg"] and list(found.edits) == ["b.png"]
    assert found.masks == {"b.png": ("masks/b.png",)} and not found.lonely_masks
    assert found.lonely_edits == ["b.png.edit.yml", "gone.png.edit.yaml"]
    assert not found.others


def test_edits_of_a_kohya_tree_are_those_of_its_subsets(write):
    pictures = ("img/2_sks dog/a.png", "img/2_sks dog/b.png", "model/sample/c.png", "model/sample/d.png")
    edits = {
        "img/2_sks dog/a.png.edit.yaml": "excluded: true",
        "img/2_sks dog/b.png.edit.yaml": "caption: b",
        "model/sample/c.png.edit.yaml": "excluded: true",
        "model/sample/d.png.edit.yaml": "caption: d",
    }
    raw = write({**dict.fromkeys(pictures, b""), **edits})
    config = '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "img/2_sks dog"\n'
    for extra in ({}, {"dataset.toml": config}):
        found = open_source(write(extra)).scan()
        assert found.pictures == ["img/2_sks dog/b.png"] == list(found.edits), extra
        assert found.excluded == ["img/2_sks dog/a.png"]
    assert raw.is_dir()


def test_an_edits_caption_wins_unless_precedence_says_otherwise(write):
    raw = write(
        {
            "a.png": b"",
            "a.txt": "a sidecar",
            "metadata.jsonl": '{"file_name": "a.png", "text": "a row"}\n',
            "a.png.edit.yaml": 'caption: |\n  by  hand,\n  of "two" lines: yes\n',
            "b.png": b"",
            "b.txt": "b sidecar",
            "b.png.edit.yaml": "crop: [0, 0, 1, 1]",
            "c.png": b"",
            "c.png.edit.yaml": "caption: []",
            "out.png": b"",
            "out.txt": "of a picture that is left out",
            "out.png.edit.yaml": "excluded: true",
        }
    )
    captions = open_source(raw).captions(ENDINGS, PRECEDENCE)
    assert captions.find("a.png") == "a.png.edit.yaml"
    assert captions.read("a.png.edit.yaml", "a.png") == 'by hand, of "two" lines: yes'
    assert captions.read_lines("a.png.edit.yaml", "a.png") == ["by hand,", 'of "two" lines: yes']
    assert captions.find("b.png") == "b.txt"
    problem = captions.read(captions.find("c.png"), "c.png")
    assert isinstance(problem, CaptionProblem) and problem.file == "c.png.edit.yaml"
    assert list(captions.without_picture(["a.png", "b.png"])) == []
    assert open_source(raw).captions(ENDINGS, ["sidecar", "edit"]).find("a.png") == "a.txt"
    assert open_source(raw).captions(ENDINGS, ["metadata"]).find("a.png") == "metadata.jsonl"
