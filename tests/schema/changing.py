"""Other values for every setting, and which of them a key knows."""

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import annotated_types

from lorakiln.schema.base import Settings

# Of kinds that are found by name: what else there is.
OTHER_KINDS = {"constant": "linear", "linear": "cosine"}


def other(setting_type: Any, value: Any, metadata: list[Any]) -> Any:
    """Another value that the type takes."""
    if isinstance(value, bool) or bool in get_args(setting_type):
        return not value
    options = [one for one in literals(setting_type) if one != value]
    if options or (isinstance(value, str) and value in OTHER_KINDS):
        return (options or [OTHER_KINDS[value]])[0]
    if isinstance(value, list):
        kinds = [one for one in get_args(setting_type) if isinstance(one, type) and issubclass(one, Settings)]
        more = kinds[0].model_construct() if kinds else type(value[0])() if value else "more"
        return [*value, more]
    if isinstance(value, tuple):
        return tuple(one / 2 for one in value)
    if isinstance(value, dict):
        return {**value, "more": 1}
    numbers = {int, float} & {setting_type, *get_args(setting_type)}
    if isinstance(value, int | float) or (value is None and numbers):
        least = [one.ge for one in metadata if isinstance(one, annotated_types.Ge)]
        return (value or (least or [1])[0]) + 1 if int in numbers else (value or 0.5) / 2
    return f"{value or ''}x"


def literals(setting_type: Any) -> list[Any]:
    if get_origin(setting_type) is Literal:
        return list(get_args(setting_type))
    return [one for inner in get_args(setting_type) for one in literals(inner)]


def known_to(key: Callable[[Settings], Any], settings: Settings, path: str = "") -> set[str]:
    """The dotted names of the settings that `key` is another for."""
    before, found = key(settings), set()
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Settings):

            def inner(part: Settings, name: str = name) -> Any:
                return key(settings.model_copy(update={name: part}))

            found |= {f"{name}.{one}" for one in known_to(inner, value)}
        elif key(settings.model_copy(update={name: other(field.annotation, value, field.metadata)})) != before:
            found.add(name)
    return found
