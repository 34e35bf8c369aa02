"""A caption by hand stands above all others, and is counted apart."""

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.caption import caption
from lorakiln.encode import encode
from lorakiln.prepare import prepare
from lorakiln.schema.captioners.blip import BlipSettings
from lorakiln.schema.captioners.none import NobodySettings
from lorakiln.schema.encode import EncodeSettings
from lorakiln.schema.model import Source
from lorakiln.schema.prepare import PrepareSettings


def write_edit(raw, picture, text):
    (raw / f"{picture}.edit.yaml").write_text(text, encoding="utf-8")


def rows_of(folder):
    return {row["file_name"]: row for row in read_jsonl(folder / "metadata.jsonl")}


def test_it_wins_over_files_rows_and_the_captioner(tmp_path, prepared, raw, captioner, capsys):
    (raw / "metadata.jsonl").write_text('{"file_name": "c.png", "text": "a row"}\n')
    for name in ("a.png", "b.jpg", "c.png"):
        write_edit(raw, name, f"caption: by hand {name[0]}\n")
    caption(prepared, raw, tmp_path / "out", BlipSettings(trigger="sks"), captioner)
    rows = rows_of(tmp_path / "out")
    told = {name: (rows[name]["text"], rows[name]["caption_source"], rows[name]["caption_file"]) for name in rows}
    assert told["a.png"] == ("sks, by hand a", "edit", "a.png.edit.yaml")
    assert told["b.png"] == ("sks, by hand b", "edit", "b.jpg.edit.yaml")
    assert told["c.png"] == ("sks, by hand c", "edit", "c.png.edit.yaml")
    assert told["e.png"][1] == "blip" and told["f.png"][1] == "file"
    line = capsys.readouterr().out.splitlines()[-1]
    assert "2 texts from files (1 .caption, 1 .txt), 1 by the captioner (1 new)" in line
    assert line.endswith(", 3 of hand edits")
    # The captioner is asked about no other picture, whatever is written by hand.
    write_edit(raw, "a.png", "caption: |\n  another\n  second line\n")
    caption(prepared, raw, tmp_path / "out", BlipSettings(trigger="sks", lines=True), captioner)
    again = rows_of(tmp_path / "out")
    assert [name for name in rows if rows[name] != again[name]] == ["a.png"]
    assert again["a.png"]["text"] == "sks, another" and again["a.png"]["alternatives"] == ["sks, second line"]
    assert "(0 new)" in capsys.readouterr().out


def test_only_what_an_edit_changes_is_encoded_anew(tmp_path, raw, micro_model, capsys):
    """Through the three stages: one caption by hand embeds one text, one crop one picture, an exclusion nothing."""
    settings = PrepareSettings(dataset="raw", resolution=32, bucket={"min": 16, "max": 64, "step": 16}, workers=1)

    def run():
        prepare(raw, tmp_path / "prepared", settings)
        whole = NobodySettings(captioner="none", class_tokens="a thing")
        caption(tmp_path / "prepared", raw, tmp_path / "captioned", whole, Source(path="./nowhere"))
        encode(tmp_path / "captioned", tmp_path / "encoded", EncodeSettings(flip=False), micro_model)
        line = capsys.readouterr().out.splitlines()[-1]
        return line.removeprefix("encode: ").removesuffix("; on the CPU")

    assert run() == "6 pictures in 1 bucket; new: 6 pictures, 4 captions"
    write_edit(raw, "a.png", "caption: by hand")
    assert run() == "6 pictures in 1 bucket; new: 0 pictures, 1 caption"
    write_edit(raw, "a.png", "caption: by hand\ncrop: [0, 0, 40, 40]")
    assert run() == "6 pictures in 1 bucket; new: 1 picture, 0 captions"
    write_edit(raw, "c.png", "excluded: true")
    assert run() == "5 pictures in 1 bucket; new: 0 pictures, 0 captions"
