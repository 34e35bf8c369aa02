"""`lorakiln captions lint`: what is odd about captions, told with names."""

import re

import pytest

from lorakiln.cli import main
from lorakiln.tools.caption_lint import Reader, describe_trigger, find_common_tags, lint_captions


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
    empty, foreign = found.unusable
    assert empty == "empty.txt: empty" and "it may be (" in foreign and "gb18030 '一只小狗'" in foreign
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


def test_another_encoding_is_told_with_what_the_text_would_be(tmp_path, capsys):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "a.txt").write_bytes("собака".encode("cp1251"))
    main(["captions", "lint", str(tmp_path)])
    assert re.search(r"a\.txt: is not UTF-8; it may be \(.*собака.*\)\n", capsys.readouterr().out)


@pytest.mark.parametrize("name", ["gone", "."])
def test_a_folder_without_pictures_is_refused(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    assert main(["captions", "lint", name]) == 1
    assert "fix: name" in capsys.readouterr().err


def test_tags_of_a_few_captions_say_nothing():
    assert find_common_tags(["a, b", "A, c", "a"]) == []
    assert find_common_tags(["a, b", "A, c", "a", "d,a ,sks"], "sks") == ["a"]


def test_what_the_base_cuts_off_is_shown(folder, micro_model, micro_family, capsys):
    most = micro_family.max_tokens
    (folder / "good.txt").write_text("sks dog, photo" + " red" * most + " blue cat")
    assert main(["captions", "lint", str(folder), "--trigger", "sks dog", "--base", micro_model.path]) == 1
    told = capsys.readouterr().out
    # s, k, s, d, o, g, the comma, p, h, o, t, o: twelve tokens stand before the words of one.
    cut = " ".join(["red"] * 12 + ["blue", "cat"])
    assert (
        f"captions that are longer than the base reads (1):\n  good.png: {most + 14} tokens of {most}, cut: '{cut}'"
        in told
    )
    assert "read in pieces, which bring along what they mean: sks = s + k + s\n" in told
    assert main(["captions", "lint", str(folder), "--base", micro_model.path, "--max-tokens", "150"]) == 1
    assert "longer than the base reads" not in capsys.readouterr().out


def test_the_trigger_that_caption_will_put_in_front_counts(micro_family):
    text = " ".join(["red"] * micro_family.max_tokens)
    reader = Reader(micro_family)
    assert reader.describe_cut(text) == ""
    assert reader.describe_cut(text, "blue").endswith("cut: 'red red'")  # one for the word, one for its comma


def test_ordinary_words_are_told_from_rare_ones(micro_family, monkeypatch):
    rarities = {"dog": 0.04, "big": 0.02, "sks": 0.97}
    monkeypatch.setattr(type(micro_family), "rarity", lambda _, word: rarities.get(word))
    found = {words: describe_trigger(micro_family, words) for words in ("dog", "big dog", "sks dog", "sks", "")}
    assert [words for words, lines in found.items() if any("ordinary" in line for line in lines)] == ["dog", "big dog"]


def test_a_word_is_as_rare_as_its_place_in_the_vocabulary(micro_family):
    tokenizer = micro_family.tokenizer
    assert micro_family.rarity("cat") == tokenizer.get_vocab()["cat</w>"] / len(tokenizer)
    assert micro_family.rarity("dog") is None


def test_a_hand_edit_contradicts_nothing(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "a.txt").write_text("a cat")
    (tmp_path / "a.png.edit.yaml").write_text("caption: sks dog")
    found = lint_captions(tmp_path, "sks dog")
    assert not found.titles() and found.captions == 1
