"""What is changed is written as hand edits, what is undone is as it was, and what `prepare` sees is what is shown."""

import tarfile

import pytest

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.console.errors import UserError
from lorakiln.prepare import prepare
from lorakiln.review.collection import UNKNOWN, open_collection
from lorakiln.review.editing import Editor, add_tag, replace_tag
from lorakiln.sources.folder.edits import read_edit


@pytest.fixture
def editor(raw, rules):
    return Editor(open_collection(raw, rules))


def read_files(raw):
    return {path.relative_to(raw).as_posix(): path.read_bytes() for path in raw.rglob("*") if path.is_file()}


def test_what_is_shown_is_what_there_is(editor):
    shown = editor.collection.pictures
    assert list(shown) == ["a.png", "b.png", "broken.png", "d e [1].png", "deep/c.jpg", "e.png"]
    assert shown["a.png"].has_mask and not shown["b.png"].has_mask
    assert (shown["a.png"].caption, shown["a.png"].caption_from) == ("sks dog, red, outdoors", "a.txt")
    assert shown["deep/c.jpg"].caption == "sks dog, red\nanother line"
    assert shown["d e [1].png"].findings == ("no caption",)
    assert shown["e.png"].edit.excluded and shown["e.png"].findings == ("enlarged more than 2 times",)
    assert shown["broken.png"].bucket == UNKNOWN and shown["broken.png"].size is None
    assert editor.collection.problems == [("f.png.edit.yaml", "a hand edit of no picture")]
    assert editor.collection.count_buckets() == {"48x80": 1, "64x64": 2, "80x48": 1, UNKNOWN: 1}


def test_buckets_are_those_of_prepare(editor, raw, rules, tmp_path):
    editor.change({"b.png": {"crop": [10, 0, 90, 90]}, "broken.png": {"excluded": True}})
    prepare(raw, tmp_path / "out", rules.prepare.model_copy(update={"workers": 1}))
    made = {row["source"]: row["bucket"] for row in read_jsonl(tmp_path / "out/metadata.jsonl")}
    shown = editor.collection.pictures.values()
    assert made == {one.name: one.bucket for one in shown if not one.edit.excluded}
    assert made["b.png"] == "64x64"


def test_buckets_are_those_of_each_folder_s_own_size(raw, rules, tmp_path):
    large = "{resolution: [96, 64], subsets: [{folder: deep}]}"
    (raw / "dataset.yaml").write_text(f"datasets: [{large}, {{subsets: [{{folder: .}}]}}]\n")
    shown = open_collection(raw, rules).pictures
    settings = rules.prepare.model_copy(update={"workers": 1, "on_bad": "skip"})
    prepare(raw, tmp_path / "out", settings)
    made = {row["source"]: row["bucket"] for row in read_jsonl(tmp_path / "out/metadata.jsonl")}
    assert made == {name: shown[name].bucket for name in made} and "deep/c.jpg" in made
    (raw / "dataset.yaml").unlink()
    assert shown["deep/c.jpg"].bucket != open_collection(raw, rules).pictures["deep/c.jpg"].bucket


def test_pictures_that_are_no_files_are_refused(raw, rules, tmp_path):
    (tmp_path / "packed").mkdir()
    with tarfile.open(tmp_path / "packed/s.tar", "w") as shard:
        shard.add(raw / "a.png", "a.png")
    with pytest.raises(UserError, match="its pictures are in shards or tables, and the review shows files"):
        open_collection(tmp_path / "packed", rules)


def test_changes_are_undone_and_made_again(editor, raw):
    before = read_files(raw)
    editor.change({"a.png": {"caption": "by  hand\nand more"}, "b.png": {"crop": [0, 0, 96, 96]}})
    assert (raw / "a.png.edit.yaml").read_text() == "caption: |-\n  by hand\n  and more\n"
    assert (raw / "b.png.edit.yaml").read_text() == "crop: [0, 0, 96, 96]\n"
    first = read_files(raw)
    editor.change({"a.png": {"excluded": True}, "e.png": {"excluded": None}})
    assert not (raw / "e.png.edit.yaml").exists()
    edit = read_edit(raw, "a.png")
    assert edit.excluded and edit.caption == "by hand\nand more"
    second = read_files(raw)
    assert {one.name for one in editor.undo()} == {"a.png", "e.png"} and read_files(raw) == first
    editor.undo()
    assert read_files(raw) == before and editor.undo() == []
    editor.redo()
    assert read_files(raw) == first
    editor.redo()
    assert read_files(raw) == second and editor.redo() == []
    # A new change is another way on.
    editor.undo()
    editor.change({"b.png": {"caption": "blue"}})
    assert editor.redo() == [] and editor.collection.pictures["b.png"].edit.crop == [0, 0, 96, 96]


@pytest.mark.parametrize(
    "text", ["yes", "# no comment", "{a|b}: 'c'", "- x", "\U0001f431 猫, ü", "2024", "null", "a: b", "x " * 300]
)
def test_a_text_is_read_as_it_was_written(editor, raw, text):
    editor.change({"a.png": {"caption": text, "crop": [1, 2, 100, 90], "excluded": True}})
    edit = read_edit(raw, "a.png")
    assert edit.caption == " ".join(text.split()) and edit.box == (1, 2, 100, 90) and edit.excluded


def test_a_caption_that_is_taken_away_gives_way_to_the_file(editor, raw):
    editor.change({"a.png": {"caption": "by hand"}})
    (shown,) = editor.change({"a.png": {"caption": "  "}})
    assert shown.caption == "sks dog, red, outdoors" and not (raw / "a.png.edit.yaml").exists()


@pytest.mark.parametrize(
    "values",
    [
        {"crop": [0, 0, 129, 10]},
        {"crop": [5, 5, 5, 9]},
        {"crop": ["a", 0, 1, 1]},
        {"caption": 7},
        {"path": "x"},
        {"excluded": "no"},
    ],
)
def test_one_that_is_wrong_leaves_all_as_they_are(editor, raw, values):
    before = read_files(raw)
    with pytest.raises(UserError):
        editor.change({"b.png": {"caption": "fine"}, "a.png": values})
    assert read_files(raw) == before and not editor.done


@pytest.mark.parametrize("name", ["../x.png", "/etc/passwd", "deep/../a.png", "", "a.txt", "masks/a.png"])
def test_only_pictures_of_the_dataset_can_be_changed(editor, raw, name):
    with pytest.raises(UserError, match="no such picture"):
        editor.change({name: {"caption": "x"}})
    assert not list(raw.parent.glob("*.edit.yaml"))


def test_what_somebody_else_has_written_meanwhile_is_kept_and_shown(editor, raw):
    (raw / "a.png.edit.yaml").write_text("caption: from an editor # with a comment\n")
    with pytest.raises(UserError, match="changed by somebody else"):
        editor.change({"a.png": {"caption": "from the page"}, "b.png": {"caption": "too"}})
    assert "with a comment" in (raw / "a.png.edit.yaml").read_text() and not (raw / "b.png.edit.yaml").exists()
    assert editor.collection.pictures["a.png"].caption == "from an editor"
    editor.change({"a.png": {"caption": "from the page"}})
    assert read_edit(raw, "a.png").caption == "from the page"


def test_tags_of_many(editor, raw):
    names = ["a.png", "b.png", "deep/c.jpg", "d e [1].png"]
    changed = editor.change_tags(names, replace_tag("RED", "crimson"))
    assert {one.name: one.caption for one in changed} == {
        "a.png": "sks dog, crimson, outdoors",
        "deep/c.jpg": "sks dog, crimson, another line",
    }
    assert not (raw / "b.png.edit.yaml").exists()
    changed = editor.change_tags(names, add_tag("photo", in_front=False))
    assert {one.name: one.caption for one in changed}["d e [1].png"] == "photo"
    assert len(editor.change_tags(names, add_tag("Photo", in_front=True))) == 0
    editor.change_tags(names, replace_tag("sks dog", ""))
    shown = editor.collection.pictures
    assert [shown[name].caption for name in names[:2]] == ["crimson, outdoors, photo", "blue, photo"]
    for _ in range(3):
        editor.undo()
    assert not (raw / "a.png.edit.yaml").exists() and shown["a.png"].caption == "sks dog, red, outdoors"


@pytest.mark.parametrize(
    ("change", "text", "expected"),
    [
        (add_tag("x", True), "a, b", "x, a, b"),
        (add_tag("x", False), "", "x"),
        (add_tag("B", False), "a,  b", "a,  b"),
        (replace_tag("a", "b"), "a, b, c", "b, c"),
        (replace_tag("a", ""), "A, big a, c", "big a, c"),
        (replace_tag("z", "y"), "a,b", "a,b"),
    ],
)
def test_changes_of_tags(change, text, expected):
    assert change(text) == expected
