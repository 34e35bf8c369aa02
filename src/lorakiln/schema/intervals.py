"""How often something is done: every so many optimizer steps, or every so many epochs."""

import re
from fractions import Fraction
from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler
from pydantic_core import core_schema

from lorakiln.schema.base import MANY

_EPOCHS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?epochs?")


class _Check:
    """Accepts what `Interval` says."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(self._check)

    def _check(self, given: Any) -> int | str:
        if isinstance(given, int) and not isinstance(given, bool) and 0 <= given <= MANY:
            return given
        if isinstance(given, str) and (match := _EPOCHS.fullmatch(given)) and float(match[1]) > 0:
            return given
        raise ValueError(
            f'should be a number of steps from 0 to {MANY:,}, or of epochs with that word, such as "2 epochs"'
        )


# Optimizer steps (0: never), or "2 epochs", "1 epoch", "0.5epochs".
Interval = Annotated[Annotated[int, Field(ge=0, le=MANY)] | str, _Check()]


def read_epochs(interval: int | str) -> Fraction | None:
    """The epochs of an interval, exactly as they are written; None for one in steps."""
    match = _EPOCHS.fullmatch(interval) if isinstance(interval, str) else None
    return Fraction(match[1]) if match else None
