"""What is done to every caption, in the order in which it is written."""

import pytest

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.caption import caption
from lorakiln.caption.trigger import complete_text
from lorakiln.console.errors import ConfigError, UserError
from lorakiln.schema.base import check
from lorakiln.schema.captioners.none import NobodySettings
from lorakiln.schema.model import Source

NOBODY = Source(path="./nowhere")
DOG = {"do": "remove", "tags": ["dog"]}


def settings(*rules, **more):
    return check(NobodySettings, {"captioner": "none", "rules": list(rules), **more}, "caption")


def complete(text, *rules, **more):
    return complete_text(settings(*rules, **more), text, is_reg=False, by_hand=False)


@pytest.mark.parametrize(
    ("rules", "text", "expected"),
    [
        ([DOG], "a dog,  Dog, dog park, red", "a dog, dog park, red"),  # whole tags, in any case
        ([DOG], "a  cat,red", "a  cat,red"),  # what has none stays as it was written
        ([{"do": "remove", "tags": ["long_hair", "o_o"]}], "1girl, long hair, o_o, o o", "1girl, o o"),
        ([{"do": "remove", "tags": ["dog"]}], "dog", ""),
        ([{"do": "replace", "tags": ["dog", "puppy"], "by": "pet"}], "puppy, red, dog", "pet, red, pet"),
        ([{"do": "remove", "pattern": r"\bsigned? by \w+"}], "a cat, Signed by Bob, red", "a cat, red"),
        ([{"do": "remove", "pattern": r" of 1,000"}], "one of 1,000 at 2,000", "one at 2,000"),
        ([{"do": "replace", "pattern": r"(\d)girls?", "by": r"\1 women"}], "2girls, solo", "2 women, solo"),
        ([{"do": "deduplicate"}], "red, A cat, a_cat, red, dog", "red, A cat, dog"),
        ([{"do": "shorten", "most": 2}], "red, a cat, dog", "red, a cat"),
        ([{"do": "shorten", "most": 4, "unit": "words"}], "a cat, a dog, a sun", "a cat, a dog"),
        ([{"do": "shorten", "most": 9, "unit": "words"}], "a cat, a dog", "a cat, a dog"),
        # In their order: the tag is there to be removed, or comes too late for it.
        ([{"do": "replace", "tags": ["puppy"], "by": "dog"}, DOG], "puppy, red", "red"),
        ([DOG, {"do": "replace", "tags": ["puppy"], "by": "dog"}], "puppy, red", "dog, red"),
        ([{"do": "shorten", "most": 1}, {"do": "deduplicate"}], "red, red, dog", "red"),
        ([{"do": "deduplicate"}, {"do": "shorten", "most": 2}], "red, red, dog", "red, dog"),
    ],
)
def test_each_takes_what_the_one_before_has_left(rules, text, expected):
    assert complete(text, *rules) == expected


def test_prefix_suffix_and_trigger_come_last_or_where_they_are_named():
    around = {"trigger": "sks", "prefix": "photo of", "suffix": ", dog"}
    assert complete("a cat, dog", DOG, **around) == "sks, photo of a cat , dog"
    assert complete("a cat, dog", {"do": "suffix"}, DOG, **around) == "sks, photo of a cat"
    # A trigger that is put there counts for what comes after it, and is not put there again.
    first = [{"do": "trigger"}, {"do": "shorten", "most": 2}]
    assert complete("red, dog", *first, trigger="sks") == "sks, red"
    assert complete("red, dog", *first, {"do": "remove", "tags": ["sks"]}, trigger="sks") == "red"
    assert complete_text(settings(*first, trigger="sks"), "red, dog", is_reg=True, by_hand=False) == "red, dog"


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ({"do": "remove"}, "remove needs tags or a pattern, one of both"),
        ({"do": "remove", "tags": ["a"], "pattern": "b"}, "remove needs tags or a pattern, one of both"),
        ({"do": "replace", "tags": ["a"]}, "replace needs by"),
        ({"do": "remove", "tags": ["a"], "by": "b"}, "by has no meaning with do: remove"),
        ({"do": "shorten"}, "shorten needs most"),
        ({"do": "deduplicate", "most": 3}, "most has no meaning with do: deduplicate"),
        ({"do": "deduplicate", "unit": "words"}, "unit has no meaning with do: deduplicate"),
        ({"do": "trigger", "tags": ["a"]}, "tags has no meaning with do: trigger"),
        ({"do": "remove", "pattern": "(a"}, "pattern '\\(a' is no regular expression: missing"),
        ({"do": "replace", "pattern": "a", "by": r"\2"}, "is no regular expression: invalid group reference 2"),
        ({"do": "drop", "tags": ["a"]}, "Input should be 'remove', 'replace'"),
        ({"do": "remove", "tag": ["a"]}, "unknown setting"),
    ],
)
def test_what_means_nothing_is_refused(rule, problem):
    with pytest.raises(ConfigError, match=problem) as refused:
        settings(rule)
    assert str(refused.value).count("caption.rules.0") == 1


def test_files_lines_and_class_tokens_are_treated_alike_and_it_is_told(tmp_path, prepared, raw, capsys):
    (raw / "b.txt").write_text("a blue dog, dog\nsks in red, dog\n")
    given = settings(DOG, trigger="sks", lines=True, class_tokens="toy, dog")
    caption(prepared, raw, tmp_path / "out", given, NOBODY)
    rows = {row["file_name"]: row for row in read_jsonl(tmp_path / "out" / "metadata.jsonl")}
    assert (rows["b.png"]["text"], rows["b.png"]["alternatives"]) == ("sks, a blue dog", ["sks in red"])
    assert rows["a.png"]["text"] == "sks, toy" and rows["f.png"]["text"] == "sks, the first wins"
    told = capsys.readouterr().out
    # Two lines and three class tokens; of seven texts two have the trigger words already: b's second and d's.
    assert "caption: rules have changed 5 texts\n" in told
    assert "caption: the trigger words 'sks' are put in front of 5 texts; caption.trigger sets others\n" in told


def test_a_caption_of_which_nothing_is_left_is_refused(tmp_path, prepared, raw):
    (raw / "b.txt").write_text("dog")
    with pytest.raises(UserError, match=r"caption.rules leave nothing of its caption \(1\); leave less out"):
        caption(prepared, raw, tmp_path / "out", settings(DOG, class_tokens="toy"), NOBODY)
    caption(prepared, raw, tmp_path / "out", settings(DOG, trigger="sks"), NOBODY)
