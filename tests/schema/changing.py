"""Other values for every setting, and which of them a key knows."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from lorakiln.schema.base import Settings

# Of kinds that are found by name, whose own type has one name alone: what else there is.
OTHER_KINDS = {"constant": "linear", "linear": "cosine"}
# Of texts that are checked: what fits one or another.
TEXTS = ("cpu", "sdxl", "#000000", "more")


def other(field: FieldInfo, value: Any) -> Any:
    """Another value that the setting takes.

    Raises:
        ValueError: none of those that are tried is one.
    """
    if isinstance(value, str) and [value] == list(literals(field.annotation)):
        return OTHER_KINDS.get(value, f"{value}x")
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, Field(), *field.metadata])
    for candidate in candidates(field.annotation, value):
        try:
            found = adapter.validate_python(candidate, strict=True)
        except ValidationError:
            continue
        if found != value:
            return found
    raise ValueError(f"there is no other value for {value!r}, which is a {field.annotation}")


def candidates(setting_type: Any, value: Any) -> Iterator[Any]:
    """Values of all sorts, those first that are nearest to the present one."""
    if isinstance(value, bool):
        yield not value
    names = list(literals(setting_type))
    yield from names
    if isinstance(value, int | float):
        yield from (value + 1, value / 2)
    if isinstance(value, str):
        yield f"{value}x"
    inner = [make_some(kind) for kind in settings_in(setting_type)]
    for more in (*inner, *names, True, *TEXTS, 1, 0.5):
        if isinstance(value, tuple):
            yield tuple(one / 2 for one in value)
        elif isinstance(value, list):
            yield [*value, more]
        elif isinstance(value, dict):
            yield {**value, "more": more}
        else:
            yield from (more, [more], {"more": more})
    if isinstance(value, list):
        yield value[:-1]


def make_some(kind: type[Settings]) -> Settings:
    """Settings of a class, with a text for what has no default."""
    return kind.model_construct(**{name: TEXTS[-1] for name, field in kind.model_fields.items() if field.is_required()})


def literals(setting_type: Any) -> Iterator[Any]:
    """The values of every Literal in a type."""
    if get_origin(setting_type) is Literal:
        yield from get_args(setting_type)
    else:
        for inner in get_args(setting_type):
            yield from literals(inner)


def settings_in(setting_type: Any) -> Iterator[type[Settings]]:
    """The classes of settings in a type."""
    if isinstance(setting_type, type) and issubclass(setting_type, Settings):
        yield setting_type
    for inner in get_args(setting_type):
        yield from settings_in(inner)


def known_to(key: Callable[[Settings], Any], settings: Settings) -> set[str]:
    """The dotted names of the settings that `key` is another for."""
    before, found = key(settings), set()
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Settings):

            def inner(part: Settings, name: str = name) -> Any:
                return key(settings.model_copy(update={name: part}))

            found |= {f"{name}.{one}" for one in known_to(inner, value)}
        elif key(settings.model_copy(update={name: other(field, value)})) != before:
            found.add(name)
    return found
