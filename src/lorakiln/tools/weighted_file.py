"""A LoRA file and how strongly it acts, as people write it: "style.safetensors:0.8"."""

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
