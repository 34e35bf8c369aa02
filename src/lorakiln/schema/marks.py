"""What a setting says of itself, beside its type and its range: what it decides, whether it is private, what it names.

The marks stand in a field's Annotated, or hold for a whole class of settings; what a section says holds for all in it:

    class OptimizerSettings(Settings, decides=Decides.WEIGHTS): ...
    trigger: Annotated[str, Decides.CAPTIONS, Private.TRIGGER] = ""
    captioner: Annotated[Source, Decides.WRITING, Names.model("captioner")]

Content keys, a run's identity, what stays at home and what a sweep looks at are read from them: a setting that is
added is in all of these at once.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum, Flag, auto
from typing import Any, Literal, TypeVar, get_origin

from pydantic.fields import FieldInfo

from lorakiln.schema.base import Settings, list_sections


class Decides(Flag):
    """What becomes another thing where the setting is another one."""

    NOTHING = 0  # speed, memory, where something is kept, defaults of other settings
    PIXELS = auto()  # of a prepared picture
    NOTES = auto()  # whether a file is taken as a picture, and what its row says
    DATASET = auto()  # which files are looked at, and what is said of all pictures together
    WRITING = auto()  # what the captioner writes about a picture
    CAPTIONS = auto()  # the text that a picture has in the end
    CHOICES = auto()  # which texts of a caption training draws, and how often each
    LATENTS = auto()
    EMBEDDINGS = auto()
    TENSORS = LATENTS | EMBEDDINGS
    BASE = auto()  # which base model it is: keys hold its identity instead, which is by content
    WEIGHTS = auto()  # of the adapter
    HELD_OUT = auto()  # which pictures are not trained on: a run's identity holds their numbers instead
    ROUNDING = auto()  # the order of summation: last bits, and nothing that a run could not go on with
    RECORD = auto()  # what a validation loss or a sample of a run is
    MOMENTS = auto()  # when something is measured, drawn, logged or saved
    TRACKER = auto()  # in which record of which tracker a run is kept
    SHOWN = auto()  # what a tracker's record is called, and what it is told
    FILE = auto()  # the exported files
    DRAWINGS = auto()  # a picture that is drawn for the report
    REPORT = auto()  # which pictures are drawn, and what is asked about them


class Private(Enum):
    """Whom a text tells of; every setting that is free text says it."""

    NO = auto()  # nobody
    WORDS = auto()  # words of prompts and captions: a tracker that shows no pictures is told none
    TRIGGER = auto()  # the same, but whoever gets the LoRA must know them
    NAME = auto()  # what somebody calls things
    PATH = auto()  # a place on this machine, or what lies there


@dataclass(frozen=True)
class Names:
    """The setting names something that may change while its name stays. On a section: what its settings call it.

    Attributes:
        sort: "pictures": a dataset's folder; "model": a hub id, a folder or a file; "lora", "prompts", "network": a
            file.
        title: what people call it, for messages; "": as the section says.
        revision: the setting beside it that says which of a hub's revisions is meant.
    """

    sort: Literal["pictures", "model", "lora", "prompts", "network"]
    title: str
    revision: str = ""

    @classmethod
    def model(cls, title: str, revision: str = "") -> "Names":
        return cls("model", title, revision)


class Here(Enum):
    """What the setting comes to is known only where it is used ("auto", null): keys hold that instead."""

    HERE = auto()


HERE = Here.HERE
Mark = TypeVar("Mark", Decides, Private, Names, Here)


@dataclass(frozen=True)
class Marks:
    """All that a setting says; None where neither it nor what it stands in says it."""

    decides: Decides | None = None
    private: Private | None = None
    names: Names | None = None
    here: bool = False

    @classmethod
    def of(cls, field: FieldInfo, kind: type[Settings], above: "Marks") -> "Marks":
        """The marks of a field of `kind`, which is a section that has those of `above`."""
        own = (_own(field, Decides), kind.decides, above.decides)
        decides = next((one for one in own if one is not None), None)
        private, names = _own(field, Private), _own(field, Names)
        if names and not names.title and above.names:
            names = replace(names, title=above.names.title)
        return cls(decides, above.private if private is None else private, names, _own(field, Here) is not None)


def _own(field: FieldInfo, sort: type[Mark]) -> Mark | None:
    """A field's own mark of a sort, the last if there are several."""
    return next((one for one in reversed(field.metadata) if isinstance(one, sort)), None)


@dataclass(frozen=True)
class Setting:
    """One place in the schema.

    Attributes:
        path: dotted, below where the walk began.
        section: whether it holds others, which come after it.
    """

    path: str
    field: FieldInfo
    marks: Marks
    section: bool


def walk(kind: type[Settings], path: str = "", above: Marks | None = None) -> Iterator[Setting]:
    """All settings of a class and of the sections in it, of all kinds that a section may be of."""
    for name, field in kind.model_fields.items():
        where = f"{path}.{name}" if path else name
        marks, parts = Marks.of(field, kind, above or Marks()), list_sections(field)
        yield Setting(where, field, marks, bool(parts))
        for part in parts:
            yield from walk(part, where, marks)


def list_outermost(kind: type[Settings], wanted: Callable[[Marks], bool]) -> Iterator[Setting]:
    """The settings and sections with such marks, without what is inside of one; each path once."""
    found: set[str] = set()
    for setting in walk(kind):
        above = setting.path.split(".")
        inside = any(".".join(above[:count]) in found for count in range(1, len(above) + 1))
        if wanted(setting.marks) and not inside:
            found.add(setting.path)
            yield setting


def select_decided(settings: Settings, by: Decides, meant: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The settings that decide any of `by`, JSON-able, in their sections; what belongs into a key.

    Args:
        meant: by dotted path what those settings come to that are marked HERE or name something.

    Raises:
        KeyError: one of these is not in `meant`.
    """
    return _decided(settings, by, meant or {}, "", Marks())


def _decided(settings: Settings, by: Decides, meant: Mapping[str, Any], path: str, above: Marks) -> dict[str, Any]:
    found: dict[str, Any] = {}
    dumped = settings.model_dump(mode="json")
    for name, field in type(settings).model_fields.items():
        where, value = f"{path}.{name}" if path else name, getattr(settings, name)
        marks = Marks.of(field, type(settings), above)
        if isinstance(value, Settings):
            if inner := _decided(value, by, meant, where, marks):
                found[name] = inner
        elif marks.decides is not None and marks.decides & by:
            found[name] = meant[where] if marks.here or marks.names else dumped[name]
    return found


@dataclass(frozen=True)
class Named:
    """What a setting names.

    Attributes:
        path: the setting's, dotted, with the names of sections that are called by name.
        value: as it was given.
        revision: that of the hub which is meant, if one is.
    """

    path: str
    names: Names
    value: str
    revision: str | None


def list_named(settings: Settings, path: str = "", above: Marks | None = None) -> Iterator[Named]:
    """All that settings name, those that stand at null left out; in the schema's order."""
    for name, field in type(settings).model_fields.items():
        where, value = f"{path}.{name}" if path else name, getattr(settings, name)
        marks = Marks.of(field, type(settings), above or Marks())
        inner = {f"{where}.{key}": one for key, one in value.items()} if isinstance(value, dict) else {where: value}
        for place, one in inner.items():
            if isinstance(one, Settings):
                yield from list_named(one, place, marks)
            elif marks.names and isinstance(one, str):
                revision = getattr(settings, marks.names.revision) if marks.names.revision else None
                yield Named(place, marks.names, one, revision)


def list_by_name(kind: type[Settings]) -> frozenset[str]:
    """Where the schema has a section for each of some names: train.tokens, of train.tokens.mydog."""
    return frozenset(one.path for one in walk(kind) if one.section and get_origin(one.field.annotation) is dict)


def find_sections(settings: Mapping[str, Any], path: str, by_name: Collection[str]) -> list[dict[str, Any]]:
    """The sections at a dotted path of plain settings, in dicts: one or none, but of those by names each.

    Args:
        by_name: see `list_by_name`.
    """
    found: list[Any] = [settings]
    above = ""
    for name in path.split("."):
        above = f"{above}.{name}" if above else name
        found = [one.get(name) for one in found if isinstance(one, Mapping)]
        if above in by_name:
            found = [inner for one in found if isinstance(one, Mapping) for inner in one.values()]
    return [one for one in found if isinstance(one, dict)]


def read_setting(settings: Mapping[str, Any], path: str) -> Any:
    """What plain settings, in dicts, have at a dotted path; None if they have nothing there."""
    found: Any = settings
    for name in path.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found
