"""What all namespaces share: unknown keys are errors, values are frozen, all problems are told at once."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, ClassVar, Protocol, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticKnownError, core_schema

from lorakiln.console.errors import ConfigError
from lorakiln.schema.other_trainers import translate_setting

MANY = 10**9  # steps, pictures or numbers at once: more is a slip of the pen
Count = Annotated[int, Field(ge=1, le=MANY)]
LARGEST_SIDE = 16_384  # pixels
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what torch's generators take
Fraction = Annotated[float, Field(gt=0, lt=1)]
Name = Annotated[str, Field(max_length=200)]  # with an ending, still a file's name on every file system


class Settings(BaseModel):
    """A namespace or a part of one.

    Attributes:
        decides: what all settings of the class decide but those that say it themselves; see `marks.Decides`.
    """

    decides: ClassVar[Any] = None
    # Strict: `lr: true` is no rate of 1, and "16" in quotes is no number.
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, strict=True)

    def __init_subclass__(cls, decides: Any = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if decides is not None:
            cls.decides = decides


Namespace = TypeVar("Namespace", bound=Settings)
Checked = TypeVar("Checked", bound=Settings, covariant=True)


class Validator(Protocol[Checked]):
    """A class of settings, or what chooses among some (`registry.Chosen`)."""

    def model_validate(self, given: Any, /) -> Checked: ...


class OneOf:
    """A field's value is one of some names, which are looked up when it is checked: Annotated[str, OneOf(names)]."""

    def __init__(self, names: Callable[[], list[str]]) -> None:
        self._names = names

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def _check(self, given: Any) -> str:
        names = self._names()
        if isinstance(given, str) and given in names:
            return given
        raise PydanticKnownError(
            "literal_error", {"expected": format_choices(names)}
        )  # as pydantic says it of a Literal


def format_choices(names: list[str]) -> str:
    """ "'a', 'b' or 'c'"."""
    quoted = [repr(name) for name in names]
    return " or ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def check(kind: Validator[Namespace], data: Any, path: str = "") -> Namespace:
    """Validate `data` as `kind`.

    Args:
        kind: a class of settings, or what chooses it by what is in the data.
        data: plain dicts, lists and scalars.
        path: where `data` stands in the whole config, for the messages.

    Raises:
        ConfigError: with every problem, each with its dotted path; unknown keys with the nearest known one.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ConfigError([_explain(kind, dict(problem), path, data) for problem in error.errors()]) from None


def _explain(kind: Validator[Settings], problem: dict[str, Any], path: str, data: Any) -> str:
    # pydantic names the member of a union or a validator's function in `loc`; those are no keys of the user's.
    where = ".".join([*([path] if path else []), *(str(key) for key in problem["loc"])])
    if problem["type"] == "extra_forbidden":
        known = _known_keys(kind, problem["loc"][:-1], data)
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
        named = translate_setting(str(problem["loc"][-1]))
        hint = f"did you mean {named or near[0]}?" if named or near else f"known: {', '.join(sorted(known))}"
        return f"{where}: unknown setting; {hint}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{where}: {message.lower()}"
    if problem["type"] in ("int_type", "float_type") and isinstance(problem["input"], str):
        message += "; a number has no quotes"
    given = repr(problem["input"])
    # A whole section would drown the message.
    # What is about several sections names its settings itself.
    place = f"{where}: " if where else ""
    return f"{place}{message}" + (f" (got {given})" if len(given) <= 60 else "")


def _known_keys(kind: Any, location: tuple[str | int, ...], data: Any) -> list[str]:
    kind = kind.choose(data) if hasattr(kind, "choose") else kind
    named = False
    for key in location:
        # A place in a list, or a name of the user's: the settings there are of the kind that the field says.
        if isinstance(key, int) or named:
            inside: Any = data
            data = inside[key] if isinstance(data, list | dict) else None
            named = False
            continue
        field = getattr(kind, "model_fields", {}).get(key)
        if field is None:
            return []
        data = data.get(key) if isinstance(data, dict) else None
        chosen = next((marked.choose(data) for marked in field.metadata if hasattr(marked, "choose")), None)
        kind = chosen or next(iter(list_sections(field)), field.annotation)
        named = get_origin(field.annotation) is dict
    return list(getattr(kind, "model_fields", {}))


def list_sections(field: FieldInfo) -> list[type[Settings]]:
    """The settings that a field of settings may hold: one class, a union's members, all kinds of a sort, or none."""
    return _kinds_of(field.metadata) or list(_sections_in(field.annotation))


def _kinds_of(marks: Iterable[Any]) -> list[type[Settings]]:
    """The settings of the kinds that one of some marks lets be chosen; none if none does."""
    chosen = next((marked for marked in marks if hasattr(marked, "registry")), None)
    return [chosen.registry.settings(name) for name in chosen.names] if chosen else []


def _sections_in(annotation: Any) -> Iterator[type[Settings]]:
    if get_origin(annotation) is Annotated and (kinds := _kinds_of(annotation.__metadata__)):
        yield from kinds
        return
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for inner in get_args(annotation):
        yield from _sections_in(inner)
