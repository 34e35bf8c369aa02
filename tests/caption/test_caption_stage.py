"""Caption files, trigger words, and the folder as a whole."""

import pytest
from PIL import Image

from lorakiln.artefacts.json_files import read_json, read_jsonl, write_jsonl
from lorakiln.caption import caption
from lorakiln.caption.trigger import holds_trigger, prepend_trigger
from lorakiln.console.errors import ConfigError, UserError
from lorakiln.schema.base import check
from lorakiln.schema.captioners.blip import BlipSettings
from lorakiln.schema.captioners.none import NobodySettings
from lorakiln.schema.model import Source
from tests.made_facts import prepared_row

NOBODY = Source(path="./nowhere/blip")


@pytest.mark.parametrize(
    ("trigger", "text", "expected"),
    [
        ("sks", "a red cat", "sks, a red cat"),
        ("sks cat", "a red cat", "sks cat, a red cat"),
        ("sks", "a SKS cat", "a SKS cat"),
        ("sks cat", "Sks  Cat on a mat", "Sks  Cat on a mat"),
        ("cat", "a category", "cat, a category"),
        ("sks cat", "cat sks", "sks cat, cat sks"),
        ("<sks>", "a photo of <sks>.", "a photo of <sks>."),
        (" sks  cat ", "a dog", "sks cat, a dog"),
        ("sks", "", "sks"),
        ("", "a red cat", "a red cat"),
    ],
)
def test_trigger(trigger, text, expected):
    assert prepend_trigger(trigger, text) == expected


def test_words_are_whole():
    assert (
        holds_trigger("the cat.", "cat")
        and not holds_trigger("concatenate", "cat")
        and not holds_trigger("cats", "cat")
    )


def test_files_win_and_origins_are_recorded(tmp_path, prepared, raw, captioner, contents):
    before = contents(raw)
    caption(prepared, raw, tmp_path / "out", BlipSettings(trigger="sks cat"), captioner)
    rows = {row["file_name"]: row for row in read_jsonl(tmp_path / "out" / "metadata.jsonl")}
    assert rows["b.png"]["text"] == "sks cat, a blue dog"
    assert rows["deep/d.png"]["text"] == "Sks Cat in the sun"
    assert rows["f.png"]["text"] == "sks cat, the first wins"
    origins = {name: (row["caption_source"], row["caption_file"]) for name, row in rows.items()}
    assert origins == {
        "a.png": ("blip", None),
        "b.png": ("file", "b.txt"),
        "c.png": ("blip", None),
        "deep/d.png": ("file", "deep/d.caption"),
        "e.png": ("blip", None),
        "f.png": ("file", "f.txt"),
    }
    assert all(rows[name]["text"].startswith("sks cat, ") for name in ("a.png", "c.png", "e.png"))
    assert contents(raw) == before
    for row in read_jsonl(prepared / "metadata.jsonl"):
        assert (tmp_path / "out" / row["file_name"]).read_bytes() == (prepared / row["file_name"]).read_bytes()
        assert rows[row["file_name"]].items() >= row.items()


def test_dataset_facts(tmp_path, prepared, raw, captioner):
    settings = BlipSettings(trigger="sks")
    caption(prepared, raw, tmp_path / "out", settings, captioner)
    before, facts = read_json(prepared / "dataset.json"), read_json(tmp_path / "out" / "dataset.json")
    assert facts == before | {
        "trigger": "sks",
        "captioner": {"path": captioner.path, "revision": None},
        "settings": before["settings"] | {"caption": settings.model_dump(mode="json")},
    }


def test_hand_written_captions_can_be_left_as_they_are(tmp_path, prepared, raw):
    settings = NobodySettings(trigger="sks", trigger_in_files=False)
    caption(prepared, raw, tmp_path / "out", settings, NOBODY)
    rows = {row["file_name"]: row for row in read_jsonl(tmp_path / "out" / "metadata.jsonl")}
    assert rows["b.png"]["text"] == "a blue dog"
    assert (rows["a.png"]["text"], rows["a.png"]["caption_source"]) == ("sks", "trigger")


def test_lines_are_captions_of_their_own(tmp_path, prepared, raw):
    (raw / "b.txt").write_bytes(b"\xef\xbb\xbfa blue\t dog\r\n\r\n  sks in blue \r\n")
    (raw / "f.txt").write_text("the only one\n")
    settings = NobodySettings(trigger="sks", lines=True, prefix="photo of, ", suffix=" best", class_tokens="dog")
    caption(prepared, raw, tmp_path / "out", settings, NOBODY)
    rows = {row["file_name"]: row for row in read_jsonl(tmp_path / "out" / "metadata.jsonl")}
    assert rows["b.png"]["text"] == "sks, photo of, a blue dog best"
    assert rows["b.png"]["alternatives"] == ["photo of, sks in blue best"]
    # What has no alternatives does not speak of them.
    assert rows["f.png"]["text"] == "sks, photo of, the only one best" and "alternatives" not in rows["f.png"]
    assert (rows["a.png"]["text"], rows["a.png"]["caption_source"]) == ("sks, photo of, dog best", "class_tokens")


def test_prefix_and_suffix_are_around_what_a_captioner_wrote(tmp_path, prepared, raw, captioner):
    caption(prepared, raw, tmp_path / "plain", BlipSettings(), captioner)
    caption(prepared, raw, tmp_path / "out", BlipSettings(prefix="photo of", suffix=", best"), captioner)
    plain, around = (
        {row["file_name"]: row["text"] for row in read_jsonl(tmp_path / name / "metadata.jsonl")}
        for name in ("plain", "out")
    )
    assert around == {name: f"photo of {text} , best" for name, text in plain.items()}


def test_class_tokens_are_for_pictures_of_which_nobody_writes():
    with pytest.raises(ConfigError, match="class_tokens 'dog' has no meaning with the captioner blip.*caption=none"):
        check(BlipSettings, {"class_tokens": "dog"}, "caption")


def test_without_captioner_and_trigger_all_bare_pictures_are_listed(tmp_path, prepared, raw):
    with pytest.raises(UserError, match="3 captions are missing") as caught:
        caption(prepared, raw, tmp_path / "out", NobodySettings(), NOBODY)
    message = str(caught.value)
    assert all(f"    {name}.png" in message for name in "ace") and "b.jpg" not in message
    assert "set caption.trigger" in message
    assert not (tmp_path / "out").exists()


def test_one_list_of_all_bad_caption_files(tmp_path, prepared, raw, captioner, contents):
    (tmp_path / "secret.txt").write_text("not for you")
    (raw / "a.txt").write_bytes("a café".encode("latin-1"))
    (raw / "b.txt").write_bytes("a blue dog".encode("utf-16-le"))
    (raw / "c.txt").write_bytes(b"a \0 cat")
    (raw / "e.txt").write_text(" \n\t")
    (raw / "f.txt").unlink()
    (raw / "f.txt").symlink_to(tmp_path / "secret.txt")
    (raw / "deep" / "d.txt").mkdir()
    before = contents(raw)
    with pytest.raises(UserError, match="6 captions are missing or cannot be used") as caught:
        caption(prepared, raw, tmp_path / "out", BlipSettings(trigger="sks"), captioner)
    message = str(caught.value)
    for words in (
        "is not UTF-8; it may be (1); `lorakiln captions reencode FOLDER --from ENCODING`",
        "    a.txt (cp1251 'a cafй', cp1252 'a café')",
        "holds NUL bytes: no text, or UTF-16 without its mark (2)",
        "empty (1); write a caption into it",
        "a link that leads out",
        "no regular file",
        "    deep/d.txt",
    ):
        assert words in message
    assert contents(raw) == before


def test_a_file_too_long_to_be_a_caption(tmp_path, prepared, raw):
    (raw / "a.txt").write_text("word " * 30_000)
    with pytest.raises(UserError, match="longer than 100,000 bytes"):
        caption(prepared, raw, tmp_path / "out", NobodySettings(trigger="sks"), NOBODY)


def test_a_hundred_bad_captions_make_one_list_and_a_file_with_all(tmp_path, prepared, raw):
    rows = [prepared_row(f"{n}.png") for n in range(100)]
    for row in rows:
        (prepared / row["file_name"]).write_bytes(b"")
        (raw / row["file_name"]).with_suffix(".txt").write_bytes(b"\xe9" if int(row["source"][:-4]) % 2 else b"")
    write_jsonl(prepared / "metadata.jsonl", rows)
    with pytest.raises(UserError, match="100 captions are missing or cannot be used") as caught:
        caption(prepared, raw, tmp_path / "out", NobodySettings(), NOBODY)
    message = str(caught.value)
    assert "empty (50)" in message and "is not UTF-8; it may be (50)" in message
    assert message.count("and 30 more") == 2 and len(message.splitlines()) < 50
    assert len(read_jsonl(tmp_path / "out.problems.jsonl")) == 100
    assert "the full list is in" in message


def test_odd_names_are_shown_so_that_they_do_no_harm(tmp_path, prepared, raw):
    rows = [prepared_row("a.png", source="it's \x1b[31m\n.png")]
    write_jsonl(prepared / "metadata.jsonl", rows)
    (raw / "it's \x1b[31m\n.txt").write_bytes(b"\xe9")
    with pytest.raises(UserError, match="is not UTF-8") as caught:
        caption(prepared, raw, tmp_path / "out", NobodySettings(), NOBODY)
    assert "\x1b" not in str(caught.value).splitlines()[2]


def test_texts_without_the_trigger_are_counted(tmp_path, prepared, raw, capfd):
    settings = NobodySettings(trigger="sks", trigger_in_files=False)
    caption(prepared, raw, tmp_path / "out", settings, NOBODY)
    assert "warning: 2 of 6 texts are without the trigger words 'sks': b.png, f.png" in capfd.readouterr().err


def test_caption_files_without_a_picture_are_named(tmp_path, prepared, raw, capfd):
    (raw / "gone.txt").write_text("a picture that went")
    (raw / ".hidden.txt").write_text("hidden")
    (raw / "refused.txt").write_text("its picture is in quarantine")
    (prepared / "quarantine.jsonl").write_text('{"source": "refused.png", "reason": "empty file", "fix": ""}\n')
    caption(prepared, raw, tmp_path / "out", NobodySettings(trigger="sks"), NOBODY)
    printed = capfd.readouterr()
    # The second caption file of f.png has a picture.
    assert printed.err == "warning: caption files without a picture (1):\n  gone.txt\n"
    assert printed.out.endswith(
        "caption: 6 pictures: 3 texts from files (1 .caption, 2 .txt), 0 by the captioner (0 new), "
        "3 of the trigger words alone\n"
    )


def test_what_is_missing_is_told(tmp_path, prepared, raw):
    settings = NobodySettings(trigger="sks")
    with pytest.raises(UserError, match="no prepared pictures"):
        caption(tmp_path / "nothing", raw, tmp_path / "out", settings, NOBODY)
    with pytest.raises(UserError, match="no such folder"):
        caption(prepared, tmp_path / "nothing", tmp_path / "out", settings, NOBODY)
    (prepared / "a.png").unlink()
    with pytest.raises(UserError, match="this picture of metadata.jsonl is missing"):
        caption(prepared, raw, tmp_path / "out", settings, NOBODY)


def test_a_failed_run_leaves_the_old_folder(tmp_path, prepared, raw, contents):
    settings = NobodySettings(trigger="sks")
    caption(prepared, raw, tmp_path / "out", settings, NOBODY)
    before = contents(tmp_path / "out")
    (raw / "a.txt").write_text("")
    with pytest.raises(UserError):
        caption(prepared, raw, tmp_path / "out", settings, NOBODY)
    assert contents(tmp_path / "out") == before
    assert Image.open(tmp_path / "out" / "a.png").size == (64, 64)


@pytest.mark.parametrize(("lines", "becomes"), [(False, "joined to one text"), (True, "each a caption of its own")])
def test_lines_and_wildcards_are_told_as_what_they_will_be(tmp_path, prepared, raw, capsys, lines, becomes):
    for name in ("a", "b", "c", "e", "f"):
        (raw / f"{name}.txt").write_text("a red cat {x} | sitting")
    (raw / "a.txt").write_text("a red cat\n\na {sad|glad} cat")
    caption(prepared, raw, tmp_path / "out", NobodySettings(lines=lines), NOBODY)
    told = [line for line in capsys.readouterr().out.splitlines() if ": a.png" in line]
    assert len(told) == 2
    assert told[0].startswith(f"caption: 1 caption with several lines, {becomes}") and told[0].endswith(": a.png")
    assert told[1].startswith("caption: 1 caption with {a|b}, ") and "encode.captions.wildcards=true" in told[1]
