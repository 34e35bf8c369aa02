"""Files with what is to be made of them, as people write it: "style.safetensors:0.8", "cat.safetensors=mycat"."""

import math
from pathlib import Path

from lorakiln.console.errors import UserError


def parse_weighted(text: str) -> tuple[Path, float]:
    """ "style.safetensors:0.8" -> the file and 0.8; without a weight, 1.

    Raises:
        UserError: what stands behind the colon is no finite number.
    """
    path, _, weight = text.rpartition(":")
    if not path or Path(text).exists():
        return Path(text), 1.0
    try:
        value = float(weight)
    except ValueError as error:
        raise UserError(f"{weight!r} is no weight", where=text, fix="write FILE:0.8") from error
    if not math.isfinite(value):
        raise UserError(f"{weight!r} is no finite weight", where=text, fix="write FILE:0.8")
    return Path(path), value


def parse_named(text: str) -> tuple[Path, str | None]:
    """ "cat.safetensors=mycat" -> the file and "mycat"; without a word, None.

    Raises:
        UserError: nothing stands behind the sign.
    """
    path, sign, word = text.rpartition("=")
    if not path or Path(text).exists():
        return Path(text), None
    if sign and not word.strip():
        raise UserError("there is no word", where=text, fix="write FILE=WORD")
    return Path(path), word.strip()
