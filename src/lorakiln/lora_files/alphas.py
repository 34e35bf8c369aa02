"""Which alpha a layer has, by the config of peft's (LoraConfig) that goes with a file in diffusers' or peft's form."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from lorakiln.console.errors import UserError

FIX = "get the file again, or make it again with the program that wrote it"
# peft takes the keys for regular expressions. A file that was downloaded must not say what is run here for how long:
# names are compared as text, and what is no name is refused.
_NAME = re.compile(r"\^?[\w-]+(\\?\.[\w-]+)*\$?")


def read_config(text: str, where: object) -> dict[str, Any]:
    """The JSON object that `text` holds.

    Raises:
        UserError: it holds something else, or is nested without end.
    """
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"its LoRA config is not JSON ({error})", where=where, fix=FIX) from error
    if not isinstance(config, dict):
        raise UserError("its LoRA config is no JSON object", where=where, fix=FIX)
    return config


def alpha_of(config: Mapping[str, Any], name: str, rank: int, where: object) -> float:
    """A layer's alpha by a config whose keys have the part in front; the update's scale is alpha over `rank`.

    An entry of alpha_pattern is for all layers whose names end in it, as peft.utils.other.get_pattern_key has it, or
    with "^" for the one that it names in full.

    Raises:
        UserError: the config holds something else than names and numbers.
    """
    part, _, module = name.partition(".")
    patterns = config.get(f"{part}.alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise UserError(f"its alpha_pattern is {_short(patterns)}, no names with numbers", where=where, fix=FIX)
    found = next((key for key in patterns if _matches(key, module, where)), None)
    if found is not None:
        alpha = _number(patterns[found], f"its alpha_pattern of {found!r}", where)
    else:
        alpha = _number(config.get(f"{part}.lora_alpha", rank), "its lora_alpha", where)
    # Rank-stabilised LoRA (arXiv 2312.03732) divides by the root of the rank.
    return alpha * math.sqrt(rank) if config.get(f"{part}.use_rslora") else alpha


def _matches(key: str, module: str, where: object) -> bool:
    if not _NAME.fullmatch(key):
        what = f"its alpha_pattern names layers by a regular expression, {_short(key)}, which is not followed"
        raise UserError(what, where=where, fix="write the layers' names into it")
    plain = key.removeprefix("^").removesuffix("$").replace("\\", "")
    return module == plain or (not key.startswith("^") and module.endswith("." + plain))


def _number(value: Any, what: str, where: object) -> float:
    # Every bool is an int to Python. An int may be too large for a float.
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e30:
        return float(value)
    raise UserError(f"{what} is {_short(value)}, no number", where=where, fix=FIX)


def _short(value: Any) -> str:
    try:
        text = json.dumps(value)
    except (ValueError, RecursionError):
        text = "a number or list of great length"
    return text if len(text) < 60 else text[:57] + "..."
