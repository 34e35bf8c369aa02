"""Every number of the schema has a range, and nothing passes for a number that is none."""

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import annotated_types
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from lorakiln.schema.base import list_sections
from lorakiln.schema.whole_config import Config

WRONG = (True, "1", "0.5", 10**30, -(10**30), 1e308, -1e308)


def fields(kind: type[BaseModel], path: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting that is no section: its dotted path and its type, with its constraints."""
    for name, field in kind.model_fields.items():
        where = f"{path}.{name}" if path else name
        parts = list_sections(field)
        for part in parts:
            yield from fields(part, where)
        if not parts:
            yield where, Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def numbers_in(annotation: Any, constraints: tuple = ()) -> Iterator[tuple[type, tuple]]:
    """(int or float, its constraints) of every number in a type."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        flat = [one for item in more for one in getattr(item, "metadata", [item])]
        yield from numbers_in(inner, (*constraints, *flat))
    elif annotation in (int, float):
        yield annotation, constraints
    else:
        # What constrains a list or tuple is its length; what constrains an optional number is the number.
        own = constraints if type(None) in get_args(annotation) else ()
        for inner in get_args(annotation):
            if not isinstance(inner, str | int):  # of Literal
                yield from numbers_in(inner, own)


NUMBERS = [(where, kind) for where, kind in fields(Config) if list(numbers_in(kind))]


def test_there_are_numbers():
    found = {where for where, _ in NUMBERS}
    assert len(found) > 50
    assert {"train.optimizer.lr", "train.optimizer.part_lrs", "evaluate.seeds", "train.micro_batch"} <= found


@pytest.mark.parametrize(("where", "kind"), NUMBERS, ids=[where for where, _ in NUMBERS])
def test_a_number_has_a_range(where, kind):
    for _, constraints in numbers_in(kind):
        assert any(isinstance(one, annotated_types.Ge | annotated_types.Gt) for one in constraints), where
        assert any(isinstance(one, annotated_types.Le | annotated_types.Lt) for one in constraints), where


@pytest.mark.parametrize(("where", "kind"), NUMBERS, ids=[where for where, _ in NUMBERS])
def test_what_is_no_such_number_is_refused(where, kind):
    adapter = TypeAdapter(kind, config={"strict": True, "allow_inf_nan": False})
    for wrong in WRONG:
        for given in (wrong, [wrong], [wrong, wrong], {"x": wrong}):
            with pytest.raises(ValidationError):
                adapter.validate_python(given)
