"""Captions that training draws: what is embedded ahead, how often each comes, and that only what is new is made."""

import pytest
from safetensors.torch import load_file

from lorakiln.artefacts.json_files import read_json, read_jsonl, write_jsonl
from lorakiln.encode import encode
from lorakiln.schema.encode import EncodeSettings
from tests.encode.conftest import TEXTS, assert_equals_fresh, contents, rows_of, write_metadata

TAGS = dict(zip(TEXTS, ["sks, red, cat", "sks, blue", "sks, red, cat", "sks", "sks, a, b, c, d, e"], strict=True))
LONG = "e.png"  # more than 16 texts


def encoded(captioned, out, model, **rules):
    encode(captioned, out, EncodeSettings(batch_size=2, captions=rules), model)
    return read_json(out / "index.json")


def told(index) -> dict[str, dict[str, float]]:
    """How often which text comes, by picture."""
    texts = [one["text"] for one in index["captions"]["texts"]]
    rows = [row for bucket in index["buckets"] for row in bucket["rows"]]
    return {row["file_name"]: {texts[number]: share for number, share in row["shares"]} for row in rows}


def test_all_texts_are_embedded_where_they_are_few(captioned, tmp_path, micro_model, micro_family, calls):
    write_metadata(captioned, {name: text for name, text in TAGS.items() if name != LONG})
    index = encoded(captioned, tmp_path / "out", micro_model, shuffle=True, keep_tags=1)
    # The same text of several pictures, plain or drawn, is embedded once.
    assert sorted(calls["texts"]) == ["", "sks", "sks, blue", "sks, cat, red", "sks, red, cat"]
    assert told(index) == {
        "a.png": {"sks, red, cat": 0.5, "sks, cat, red": 0.5},
        "b.png": {"sks, blue": 1},
        "c.png": {"sks, red, cat": 0.5, "sks, cat, red": 0.5},
        "deep/d.png": {"sks": 1},
    }
    drawn = load_file(tmp_path / "out" / "captions.safetensors")["prompt_embeds"]
    for number, one in enumerate(index["captions"]["texts"]):
        assert drawn[number].allclose(micro_family.encode_prompts([one["text"]])["prompt_embeds"][0], atol=1e-5)


def test_a_picture_with_more_is_embedded_when_it_is_drawn(captioned, tmp_path, micro_model, calls):
    write_metadata(captioned, TAGS)
    index = encoded(captioned, tmp_path / "out", micro_model, shuffle=True, keep_tags=1)
    assert index["captions"] == {"mode": "live"} and "captions.safetensors" not in contents(tmp_path / "out")
    row = rows_of(tmp_path / "out")[LONG][2]
    assert (row["text"], row["templates"]) == (TAGS[LONG], [TAGS[LONG]]) and "shares" not in row
    assert sorted(calls["texts"]) == sorted({"", *TAGS.values()})


def test_so_many_are_drawn_where_there_are_more(captioned, tmp_path, micro_model):
    write_metadata(captioned, TAGS)
    rules = {"shuffle": True, "keep_tags": 1, "mode": "variants", "most_variants": 8}
    index = encoded(captioned, tmp_path / "out", micro_model, **rules)
    found = told(index)[LONG]
    assert sum(found.values()) == pytest.approx(1) and 2 < len(found) <= 8
    assert all(text.startswith("sks, ") and sorted(text[5:].split(", ")) == list("abcde") for text in found)
    # Of the others there are all, as they would be drawn.
    assert told(index)["a.png"] == {"sks, red, cat": 0.5, "sks, cat, red": 0.5}
    before = contents(tmp_path / "out")
    encoded(captioned, tmp_path / "again", micro_model, **rules)
    assert contents(tmp_path / "again") == before


def test_lines_of_a_file_are_drawn_without_any_rule(captioned, tmp_path, micro_model):
    rows = list(read_jsonl(captioned / "metadata.jsonl"))
    rows[0]["alternatives"] = ["old cat", "red cat"]
    write_jsonl(captioned / "metadata.jsonl", rows)
    index = encoded(captioned, tmp_path / "out", micro_model)
    assert told(index)["a.png"] == pytest.approx({"red cat": 2 / 3, "old cat": 1 / 3})
    assert rows_of(tmp_path / "out")["a.png"][2]["text"] == "red cat"


def test_changing_a_caption_embeds_its_own_texts(captioned, tmp_path, micro_model, calls):
    settings = EncodeSettings(batch_size=2, captions={"wildcards": True})
    write_metadata(captioned, TEXTS | {"a.png": "{red|blue} cat", "b.png": "{old|new}"})
    encode(captioned, tmp_path / "out", settings, micro_model)
    before = read_json(tmp_path / "out" / "index.json")["hash"]
    assert rows_of(tmp_path / "out")["a.png"][2]["text"] == "red cat"
    calls["pictures"].clear(), calls["texts"].clear()
    write_metadata(captioned, TEXTS | {"a.png": "{red|blue|green} cat", "b.png": "{old|new}"})
    encode(captioned, tmp_path / "out", settings, micro_model)
    assert calls == {"pictures": [], "texts": ["green cat"]}
    assert read_json(tmp_path / "out" / "index.json")["hash"] != before
    assert_equals_fresh(captioned, tmp_path / "out", micro_model, settings)


def test_rules_that_draw_nothing_change_nothing(captioned, tmp_path, micro_model):
    encode(captioned, tmp_path / "plain", EncodeSettings(batch_size=2), micro_model)
    index = encoded(captioned, tmp_path / "out", micro_model, mode="live", most_variants=3)
    plain = read_json(tmp_path / "plain" / "index.json")
    assert {**index, "settings": None} == {**plain, "settings": None} and "captions" not in plain
    assert "templates" not in rows_of(tmp_path / "plain")["a.png"][2]


def test_the_identity_knows_how_captions_are_drawn(captioned, tmp_path, micro_model):
    write_metadata(captioned, TAGS)
    several = [
        {},
        {"shuffle": True},
        {"shuffle": True, "keep_tags": 1},
        {"tag_dropout": 0.1},
        {"tag_dropout": 0.2},
        {"tag_dropout": 0.2, "mode": "variants"},
        {"tag_dropout": 0.2, "mode": "variants", "most_variants": 4},
        {"tag_warmup_steps": 10},
    ]
    hashes = [encoded(captioned, tmp_path / "out", micro_model, **rules)["hash"] for rules in several]
    assert len(set(hashes)) == len(several)
