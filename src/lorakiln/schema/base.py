"""What all namespaces share: unknown keys are errors, values are frozen, all problems are told at once."""

import difflib
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from lorakiln.console.errors import ConfigError


class Settings(BaseModel):
    """A namespace or a part of one."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


Namespace = TypeVar("Namespace", bound=Settings)


def check(kind: type[Namespace], data: Any, path: str = "") -> Namespace:
    """Validate `data` as `kind`.

    Args:
        data: plain dicts, lists and scalars.
        path: where `data` stands in the whole config, for the messages.

    Raises:
        ConfigError: with every problem, each with its dotted path; unknown keys with the nearest known one.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ConfigError([_explain(kind, dict(problem), path) for problem in error.errors()]) from None


def _explain(kind: type[Settings], problem: dict[str, Any], path: str) -> str:
    # pydantic names the member of a union or a validator's function in `loc`; those are no keys of the user's.
    where = ".".join([*([path] if path else []), *(str(key) for key in problem["loc"])])
    if problem["type"] == "extra_forbidden":
        known = _known_keys(kind, problem["loc"][:-1])
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
        return f"{where}: unknown setting; {hint}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        return f"{where}: {message.lower()}"
    given = repr(problem["input"])
    # A whole section would drown the message.
    return f"{where}: {message}" + (f" (got {given})" if len(given) <= 60 else "")


def _known_keys(kind: Any, location: tuple[str | int, ...]) -> list[str]:
    for key in location:
        field = getattr(kind, "model_fields", {}).get(key)
        if field is None:
            return []
        kind = field.annotation
        # Optional sections: the Settings among a union's members.
        kind = next((k for k in getattr(kind, "__args__", ()) if hasattr(k, "model_fields")), kind)
    return list(getattr(kind, "model_fields", {}))
