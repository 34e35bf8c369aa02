"""Every setting says what it decides, whether it is private, and whether it names a model or a file."""

from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from pydantic import Field

from lorakiln.schema.base import Settings
from lorakiln.schema.marks import (
    HERE,
    Decides,
    Marks,
    Names,
    Private,
    find_sections,
    list_by_name,
    list_named,
    read_setting,
    select_decided,
    walk,
)
from lorakiln.schema.optimizers import OPTIMIZERS, OptimizerSettings
from lorakiln.schema.whole_config import Config

SETTINGS = {one.path: one for one in walk(Config) if not one.section}


def is_text(annotation: Any) -> bool:
    """Whether a value may hold words that somebody has written."""
    if get_origin(annotation) is Literal:
        return False
    return annotation is str or any(is_text(inner) for inner in get_args(annotation))


def test_the_walk_sees_every_section_and_kind():
    assert len(SETTINGS) > 110
    assert {"prepare.bucket.min", "train.optimizer.betas", "evaluate.classify.labels", "paths.raw"} <= SETTINGS.keys()


@pytest.mark.parametrize("path", sorted(SETTINGS))
def test_a_setting_says_what_it_decides_and_whom_its_text_tells_of(path):
    setting = SETTINGS[path]
    assert setting.marks.decides is not None, f"{path}: say in the schema what it decides"
    if is_text(setting.field.annotation):
        assert setting.marks.private is not None, f"{path} is free text: say in the schema whether it is private"
    if setting.marks.names:
        assert setting.marks.names.title, f"{path}: what it names has no title"
        assert setting.marks.private in (Private.PATH, Private.NAME), f"{path}: what names a file tells of somebody"


class Place(Settings):
    path: Annotated[str, Private.PATH, Names.model("", "revision")]
    revision: Annotated[str | None, Private.NO] = None


class Part(Settings, decides=Decides.WEIGHTS):
    rate: float = Field(1.0, ge=0, le=1)
    threads: Annotated[int, Decides.NOTHING] = Field(1, ge=1, le=8)
    precision: Annotated[str, HERE, Private.NO] = "auto"


class Special(Part):
    more: int = Field(1, ge=1, le=8)


class Stage(Settings, decides=Decides.LATENTS):
    size: int = Field(8, ge=1, le=8)
    text: Annotated[str, Decides.EMBEDDINGS | Decides.CAPTIONS, Private.WORDS] = ""
    model: Annotated[Place, Decides.BASE, Names.model("base")]
    part: Part
    silent: Place


def test_the_nearest_mark_holds():
    found = {one.path: one.marks for one in walk(Stage)}
    assert found["size"].decides == Decides.LATENTS  # the class
    assert found["part.rate"].decides == Decides.WEIGHTS  # the part's own class, and not the stage's
    assert found["part.threads"].decides == Decides.NOTHING  # itself
    assert found["model.path"].decides == Decides.BASE  # the section, for its class says nothing
    assert found["model.path"].names == Names("model", "base", "revision")
    assert found["model.revision"].names is None
    assert {one.path: one.marks for one in walk(Special)}["more"].decides == Decides.WEIGHTS  # the class above


def test_what_belongs_into_a_key():
    stage = Stage(model=Place(path="a"), part=Special(more=3), silent=Place(path="b"))
    assert select_decided(stage, Decides.EMBEDDINGS) == {"text": ""}
    assert select_decided(stage, Decides.CAPTIONS | Decides.WEIGHTS, {"part.precision": "fp32"}) == {
        "text": "",
        "part": {"rate": 1.0, "precision": "fp32", "more": 3},
    }
    assert select_decided(stage, Decides.NOTHING) == {}
    # A file's name is no content, and "auto" no precision: whoever makes a key must say what they come to.
    with pytest.raises(KeyError, match=r"part\.precision"):
        select_decided(stage, Decides.WEIGHTS)
    with pytest.raises(KeyError, match=r"model\.path"):
        select_decided(stage, Decides.BASE)


def test_what_settings_name_is_found_wherever_it_stands():
    class Link(Settings):
        source: Annotated[Place | None, Names.model("writer")] = None

    class Whole(Settings):
        links: dict[str, Link] = {}
        model: Annotated[Place, Names.model("base")]
        start: Annotated[str | None, Private.PATH, Names("lora", "start")] = None

    whole = Whole(links={"one": {"source": {"path": "a", "revision": "v1"}}, "two": {}}, model={"path": "b"})
    told = [(one.path, one.names.title, one.value, one.revision) for one in list_named(whole, "at")]
    assert told == [("at.links.one.source.path", "writer", "a", "v1"), ("at.model.path", "base", "b", None)]
    assert [one.value for one in list_named(whole.model_copy(update={"start": "c"}))] == ["a", "b", "c"]


class SignSettings(OptimizerSettings):
    kind: Literal["sign"] = "sign"
    momentum: float = Field(0.9, ge=0, lt=1)
    note: str = ""


def test_an_added_kinds_settings_are_walked_and_decide_what_their_sort_does():
    OPTIMIZERS.add("sign", object(), SignSettings)
    try:
        found = {one.path: one.marks for one in walk(Config)}
    finally:
        OPTIMIZERS.remove("sign")
    assert found["train.optimizer.momentum"] == Marks(Decides.WEIGHTS)
    assert found["train.optimizer.note"].private is None  # which the test above refuses


class Named(Settings, decides=Decides.WEIGHTS):
    parts: dict[str, Part] = {}
    plain: Part = Part()


def test_sections_by_names_are_found_each():
    class Whole(Settings):
        inner: Named = Named()

    assert list_by_name(Whole) == {"inner.parts"}
    given = {"inner": {"parts": {"a": {"rate": 1}, "b": {"rate": 2}, "c": None}, "plain": {"rate": 3}}}
    assert find_sections(given, "inner.parts", {"inner.parts"}) == [{"rate": 1}, {"rate": 2}]
    assert find_sections(given, "inner.plain", {"inner.parts"}) == [{"rate": 3}]
    assert find_sections(given, "inner.plain.rate", set()) == find_sections(given, "outer.parts", set()) == []


def test_plain_settings_are_read_by_their_path():
    assert read_setting({"a": {"b": 1}}, "a.b") == 1
    assert read_setting({"a": {"b": 1}}, "a.c.d") is None
    assert read_setting({"a": None}, "a.b") is None
