"""A captioner that is no part of the package: its code and its settings are found by its name."""

from types import SimpleNamespace
from typing import Literal

import pytest
from PIL import Image
from pydantic import Field

from lorakiln.artefacts.json_files import read_json, read_jsonl
from lorakiln.caption import caption
from lorakiln.console.errors import ConfigError
from lorakiln.schema.base import check
from lorakiln.schema.captioners import CAPTIONERS, CaptionSettings
from lorakiln.schema.captioners.none import NobodySettings
from lorakiln.schema.model import Source
from lorakiln.schema.whole_config import Config

NOWHERE = Source(path="./nowhere")


class ShadesSettings(CaptionSettings):
    captioner: Literal["shades"] = "shades"
    levels: int = Field(4, ge=2, le=256)


class Shades:
    """Says how light a picture is."""

    def __init__(self, source, settings):
        self.source, self.settings, self.asked = source, settings, []

    def identify(self):
        return {"path": self.source.path}

    def write(self, pictures, done):
        for picture in pictures:
            self.asked.append(picture.name)
            with Image.open(picture) as image:
                level = image.convert("L").resize((1, 1)).getpixel((0, 0)) * self.settings.levels // 256
            done(1, f"shade {level}")
            yield f"shade {level} of {self.settings.levels}"


@pytest.fixture
def made():
    """The captioners that were made."""
    captioners = []

    def make_captioner(source, settings):
        captioners.append(Shades(source, settings))
        return captioners[-1]

    CAPTIONERS.add("shades", SimpleNamespace(make_captioner=make_captioner), ShadesSettings)
    yield captioners
    CAPTIONERS.remove("shades")


def test_an_added_captioner_captions_and_is_asked_about_what_is_new_alone(tmp_path, prepared, raw, made, capsys):
    settings = check(CAPTIONERS.chosen(), {"captioner": "shades", "levels": 2, "trigger": "sks"}, "caption")
    caption(prepared, raw, tmp_path / "out", settings, NOWHERE)
    rows = {row["file_name"]: row for row in read_jsonl(tmp_path / "out" / "metadata.jsonl")}
    bare = ["a.png", "c.png", "e.png"]
    assert [name for name, row in rows.items() if row["caption_source"] == "shades"] == bare == made[0].asked
    assert {rows[name]["text"] for name in bare} <= {"sks, shade 0 of 2", "sks, shade 1 of 2"}
    assert "3 texts from files (1 .caption, 2 .txt), 3 by the captioner (3 new)" in capsys.readouterr().out
    assert read_json(tmp_path / "out" / "dataset.json")["settings"]["caption"] == {
        "captioner": "shades",
        "source": None,
        "levels": 2,
        "trigger": "sks",
        "trigger_in_files": True,
        "extensions": [".txt", ".caption"],
        "precedence": ["edit", "sidecar", "metadata", "tags"],
        "lines": False,
        "rules": [],
        **dict.fromkeys(("prefix", "suffix", "class_tokens"), ""),
    }
    caption(prepared, raw, tmp_path / "out", settings, NOWHERE)
    assert made[1].asked == []
    # A setting of its own decides what it writes.
    caption(prepared, raw, tmp_path / "out", ShadesSettings(levels=3, trigger="sks"), NOWHERE)
    assert made[2].asked == bare
    texts = [row["written"] for row in read_jsonl(tmp_path / "out" / "metadata.jsonl") if row["written"]]
    assert {text.split()[-1] for text in texts} == {"3"}


def test_the_trigger_words_and_the_endings_are_not_the_captioner_s(tmp_path, prepared, raw, made):
    caption(prepared, raw, tmp_path / "out", ShadesSettings(), NOWHERE)
    others = {"trigger": "sks", "trigger_in_files": False, "extensions": [".txt", ".caption", ".text"]}
    caption(prepared, raw, tmp_path / "out", ShadesSettings(**others), NOWHERE)
    assert made[1].asked == []


def test_whoever_is_named_decides_which_settings_there_are(made):
    with pytest.raises(ConfigError) as caught:
        check(CAPTIONERS.chosen(), {"captioner": "shades", "num_beams": 2, "level": 3}, "caption")
    assert caught.value.problems == [
        "caption.num_beams: unknown setting; known: captioner, class_tokens, extensions, levels, lines, precedence, "
        "prefix, rules, source, suffix, trigger, trigger_in_files",
        "caption.level: unknown setting; did you mean levels?",
    ]
    with pytest.raises(ConfigError) as caught:
        check(CAPTIONERS.chosen(), {"captioner": "blib"}, "caption")
    (told,) = caught.value.problems
    assert (
        told == "caption.captioner: Input should be 'blip', 'chain', 'none', 'shades', 'tagger' or 'vlm' (got 'blib')"
    )


def test_the_config_s_captions_are_the_named_kind_s(whole_config, made):
    data = whole_config | {"caption": {"captioner": "shades", "levels": 9}}
    assert check(Config, data).caption == ShadesSettings(levels=9)
    # `caption.captioner=none` switches BLIP off, whose settings stand where they are.
    data["caption"] = whole_config["caption"] | {"captioner": "none", "num_beams": 3}
    assert check(Config, data).caption == NobodySettings(**data["caption"])


@pytest.fixture
def whole_config():
    from pipelines.compose import compose_config

    return compose_config(["+experiment=smoke"])


@pytest.mark.parametrize(("writer", "said"), [("shades", "2 of 4 are the captioner's words"), ("trigger", "cat")])
def test_a_plan_says_which_prompts_are_the_captioner_s(micro_encoded, writer, said):
    from lorakiln.schema.train import SampleSettings
    from lorakiln.train.encoded_dataset import EncodedDataset
    from lorakiln.train.sample_pictures import describe_samples

    encoded = EncodedDataset.read(micro_encoded)
    for bucket in encoded.buckets:
        by_writer = [row.changed(caption_source=writer) for row in bucket.rows]
        bucket.rows[:] = [
            row if row.caption_source == "file" else other for row, other in zip(bucket.rows, by_writer, strict=True)
        ]
    told = describe_samples(encoded, SampleSettings(every=5), [[1, 2, 3], [0]])
    assert said in told and ("captioner" in told) == (writer == "shades")


def test_each_writer_has_a_file_of_its_own_name():
    assert CAPTIONERS.names == ["blip", "chain", "none", "tagger", "vlm"]
    assert CAPTIONERS.find("none").make_captioner(NOWHERE, NobodySettings()) is None
