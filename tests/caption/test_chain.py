"""Several captioners in a row: what they write together, and who is asked again."""

from types import SimpleNamespace
from typing import Annotated, Literal

import pytest

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.caption import caption
from lorakiln.console.errors import ConfigError, UserError
from lorakiln.schema.base import check
from lorakiln.schema.captioners import CAPTIONERS, CaptionSettings
from lorakiln.schema.captioners.chain import ChainSettings
from lorakiln.schema.marks import Decides, Private
from lorakiln.schema.model import Source
from lorakiln.schema.registry import list_modules
from lorakiln.schema.whole_config import check_whole
from lorakiln.sweep.job_sources import identify_sources
from lorakiln.tracking.private_settings import remove_words
from pipelines.compose import compose_config

SUITING = Source(path="./suiting")


class EchoSettings(CaptionSettings):
    captioner: Literal["echo"] = "echo"
    word: Annotated[str, Decides.WRITING, Private.WORDS] = ""


class Echo:
    """Says its word and the picture's name, and nothing at all without a word."""

    asked: list[tuple[str, str, str]] = []

    def __init__(self, source, settings):
        self.source, self.settings = source, settings

    def identify(self):
        if self.settings.word == "broken":
            raise UserError("no such model")
        return {"path": self.source.path}

    def write(self, pictures, done):
        for picture in pictures:
            Echo.asked.append((self.source.path, self.settings.word, picture.stem))
            done(1, picture.stem)
            yield f"{self.settings.word} {picture.stem}" if self.settings.word else ""


@pytest.fixture(autouse=True)
def echo():
    Echo.asked = []
    CAPTIONERS.add("echo", SimpleNamespace(make_captioner=Echo), EchoSettings)
    yield
    CAPTIONERS.remove("echo")


@pytest.fixture
def write(tmp_path, prepared, raw):
    """Captions by links; gives the rows by the pictures' names, and the words of those that were asked."""

    def run(**links):
        Echo.asked = []
        more = {"separator": links.pop("separator")} if "separator" in links else {}
        given = {name: {"captioner": "echo", **settings} for name, settings in links.items()}
        settings = check(ChainSettings, {"captioner": "chain", "trigger": "sks", "links": given, **more}, "caption")
        caption(prepared, raw, tmp_path / "out", settings, SUITING)
        rows = {row["file_name"]: row for row in read_jsonl(tmp_path / "out" / "metadata.jsonl")}
        return rows, sorted({word for _, word, _ in Echo.asked})

    return run


def test_each_is_asked_in_its_turn_and_again_only_where_its_own_settings_change(write, capsys):
    rows, asked = write(first={"word": "one"}, second={"word": "two", "source": {"path": "./mine"}})
    assert rows["a.png"]["text"] == "sks, one a, two a" and rows["a.png"]["caption_source"] == "chain"
    assert list(rows["a.png"]["links"].values()) == ["one a", "two a"] and rows["a.png"]["written"] == "one a, two a"
    assert "links" not in rows["b.png"]  # it has a file
    assert [one for one in Echo.asked if one[2] == "a"] == [("./suiting", "one", "a"), ("./mine", "two", "a")]
    assert "3 by the captioner (3 new)" in capsys.readouterr().out
    rows, asked = write(first={"word": "one"}, second={"word": "three", "source": {"path": "./mine"}})
    assert rows["c.png"]["text"] == "sks, one c, three c" and asked == ["three"]
    # Another order, and another separator, ask nobody.
    links = {"second": {"word": "three", "source": {"path": "./mine"}}, "first": {"word": "one"}}
    rows, asked = write(**links, separator=" | ")
    assert rows["c.png"]["text"] == "sks, three c | one c" and asked == []


def test_one_alone_has_written_the_same_for_itself(tmp_path, prepared, raw, write):
    caption(prepared, raw, tmp_path / "out", EchoSettings(word="one"), SUITING)
    rows, asked = write(first={"word": "one"}, silent={"word": ""})
    assert rows["a.png"]["text"] == "sks, one a" and asked == [""]


def test_nobody_writes_where_another_cannot(write):
    with pytest.raises(UserError, match="no such model"):
        write(first={"word": "one"}, second={"word": "broken"})
    assert Echo.asked == []


@pytest.mark.parametrize(
    ("links", "problem"),
    [
        ({}, "should have at least 1 item"),
        ({"a": {"captioner": "none"}}, "caption.links.a.captioner: Input should be 'blip', 'echo', 'tagger' or 'vlm'"),
        ({"a": {"captioner": "chain"}}, "caption.links.a.captioner: Input should be 'blip', 'echo', 'tagger' or 'vlm'"),
        ({"a": {"captioner": "echo", "trigger": "sks"}}, "links.a.trigger 'sks' has no meaning.*set caption.trigger"),
        ({"a": {"captioner": "echo", "words": "x"}}, "caption.links.a.words: unknown setting"),
    ],
)
def test_links_that_mean_nothing_are_refused(links, problem):
    with pytest.raises(ConfigError, match=problem):
        check(ChainSettings, {"captioner": "chain", "links": links}, "caption")


def test_the_shipped_chain_is_a_sentence_and_tags(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    changes = ("caption=chain", "caption.links.tags.general_threshold=0.5", "caption.links.words.prompt=secret")
    composed = compose_config(["+experiment=smoke", *changes, f"caption.links.tags.source.path={folder}"])
    settings = check_whole(composed).caption
    assert [link.captioner for link in settings.links.values()] == ["blip", "tagger"]
    assert settings.links["tags"].general_threshold == 0.5
    # The code of both decides; a sweep sees that the model of one is another; nobody is told the words.
    assert {"lorakiln.captioners.blip", "lorakiln.captioners.tagger"} <= set(list_modules(settings))
    before = identify_sources(composed)
    (folder / "config.json").write_text('{"more": 1}')
    assert [name for name, one in identify_sources(composed).items() if before[name] != one] == [
        "captioner of caption.source"
    ]
    assert "secret" not in str(remove_words(composed))
