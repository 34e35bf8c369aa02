"""Which alpha a layer has, by the config of peft's (LoraConfig) that goes with a file in diffusers' or peft's form.

The configs of peft's other kinds of adapters have their ranks and alphas in the same way, under names of their own.
"""

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


def find_alpha(config: Mapping[str, Any], name: str, rank: int, where: object) -> float:
    """A LoRA layer's alpha by a config whose keys have the part in front; the update's scale is alpha over `rank`.

    Raises:
        UserError: the config holds something else than names and numbers.
    """
    alpha = find_entry(config, name, "lora_alpha", "alpha_pattern", rank, where)
    # Rank-stabilised LoRA (arXiv 2312.03732) divides by the root of the rank.
    return alpha * math.sqrt(rank) if find_setting(config, name, "use_rslora") else alpha


def find_entry(
    config: Mapping[str, Any], name: str, key: str, pattern: str | None, default: float, where: object
) -> float:
    """A layer's number by its entry in `pattern`, or by `key` for all layers of its part, or `default`.

    An entry of a pattern is for all layers whose names end in it, as peft.utils.other.get_pattern_key has it, or
    with "^" for the one that it names in full.

    Raises:
        UserError: the config holds something else than names and numbers.
    """
    module = name.partition(".")[2]
    patterns = find_setting(config, name, pattern) or {} if pattern else {}
    if not isinstance(patterns, dict):
        raise UserError(f"its {pattern} is {_short(patterns)}, no names with numbers", where=where, fix=FIX)
    found = next((entry for entry in patterns if _matches(entry, module, pattern, where)), None)
    if found is not None:
        return _number(patterns[found], f"its {pattern} of {found!r}", where)
    return _number(find_setting(config, name, key, default), f"its {key}", where)


def find_setting(config: Mapping[str, Any], name: str, key: str, default: Any = None) -> Any:
    """What the config says of the part that a module is in."""
    return config.get(f"{name.partition('.')[0]}.{key}", default)


def _matches(key: str, module: str, pattern: str | None, where: object) -> bool:
    if not _NAME.fullmatch(key):
        what = f"its {pattern} names layers by a regular expression, {_short(key)}, which is not followed"
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
