"""`lorakiln captions lint`: what is odd about captions, told with names."""

import pytest

from lorakiln.cli import main
from lorakiln.tools.caption_lint import find_common_tags, lint_captions


@pytest.fixture
def folder(tmp_path):
    def write(name, text=b""):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())

    for name in ("both", "dull", "empty", "foreign", "good", "none", "twice"):
        write(f"{name}.png")
    write("good.txt", "sks dog, on the grass, photo")
    write("both.txt", "sks dog, asleep, photo")
    write("both.caption", "a cat")
    write("metadata.jsonl", '{"file_name": "good.png", "text": "SKS dog, on the grass, Photo"}\n')
    write("dull.txt", "a dog, photo")
    write("empty.txt", " \n")
    write("foreign.txt", "一只小狗".encode("gbk"))
    write("twice.caption", "sks dog, Sks  Dog, photo")
    write("lonely.txt", "nothing")
    return tmp_path


def test_each_is_found_by_its_name(folder):
    found = lint_captions(folder, "sks dog")
    assert found.missing == ["none.png"]
    assert found.unusable == ["empty.txt: empty", "foreign.txt: is not UTF-8; it may be"]
    # What is taken comes first; a caption that says the same in another case is no other.
    assert found.contradictions == ["both.png: both.txt 'sks dog, asleep, photo', both.caption 'a cat'"]
    assert found.untriggered == ["dull.png: a dog, photo"]
    assert found.doubled == ["twice.png: sks dog, Sks Dog, photo"]
    assert found.everywhere == ["photo"]
    assert found.lonely == ["lonely.txt"]
    assert (found.pictures, found.captions) == (7, 4)
    assert not lint_captions(folder).untriggered


def test_the_command_tells_them_and_its_status_says_whether_to_stop(folder, capsys):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert main(["captions", "lint", str(folder), "--trigger", "sks dog"]) == 1
    told = capsys.readouterr().out
    assert "pictures without a caption (1):\n  none.png\n" in told
    assert "tags in every caption, which the trigger words could stand for (1):\n  photo\n" in told
    assert told.endswith("4 captions of 7 pictures\n")
    assert before == {path: path.read_bytes() for path in folder.iterdir()}


def test_what_is_well_is_said_so_and_regularisation_pictures_need_no_trigger(tmp_path, capsys):
    for name, text in (("img/2_sks dog/a", "sks dog, asleep"), ("reg/1_dog/r", "dog")):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / f"{name}.png").write_bytes(b"")
        (tmp_path / f"{name}.txt").write_text(text)
    assert main(["captions", "lint", str(tmp_path), "--trigger", "sks dog"]) == 0
    assert capsys.readouterr().out == "2 captions of 2 pictures: nothing is odd\n"


@pytest.mark.parametrize("name", ["gone", "."])
def test_a_folder_without_pictures_is_refused(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    assert main(["captions", "lint", name]) == 1
    assert "fix: name" in capsys.readouterr().err


def test_tags_of_a_few_captions_say_nothing():
    assert find_common_tags(["a, b", "A, c", "a"]) == []
    assert find_common_tags(["a, b", "A, c", "a", "d,a ,sks"], "sks") == ["a"]


def test_a_hand_edit_contradicts_nothing(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "a.txt").write_text("a cat")
    (tmp_path / "a.png.edit.yaml").write_text("caption: sks dog")
    found = lint_captions(tmp_path, "sks dog")
    assert not found.titles() and found.captions == 1
