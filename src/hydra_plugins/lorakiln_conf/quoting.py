"""Files' and folders' names in overrides: Hydra's grammar has commas, brackets, quotes and numbers that a name may hold
too.

Source: hydra.cc, "Extended override grammar", quoted values.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path

import yaml

PATHS = Path("conf/paths.yaml")
_DATASET = re.compile(r"(\+{0,2}prepare\.dataset)=(.+)", re.DOTALL)
_SETTING = re.compile(r"(\+{0,2}\w+(?:\.\w+)+)=(.+)", re.DOTALL | re.ASCII)
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./:+%@*?|$-]+")  # what Hydra takes without quotes, or as a number
# What is quoted, or escaped already, is taken whole.
_QUOTED_OR_BRACKET = re.compile(r"""'[^']*'|"[^"]*"|\\.|[()]""", re.DOTALL)
_NO_TEXTS = ("null", "true", "false", "inf", "nan")


def quote_value(text: str) -> str:
    """The text as a value that Hydra takes as it is, whatever is in it; a plain word stays without quotes."""
    if _PLAIN.fullmatch(text) and text.lower() not in _NO_TEXTS:
        return text
    text = text.replace("${", r"\${")  # else what OmegaConf puts something in the place of
    # Backslashes count only in front of a quote.
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + (r"\'" if found[2] else ""), text) + "'"


def escape_brackets(text: str) -> str:
    """A list or a dict with round brackets in it, such as {dog_(species): dog}, as Hydra takes it: a backslash in front
    of each that stands in no quotes.
    """
    return _QUOTED_OR_BRACKET.sub(lambda found: f"\\{found[0]}" if found[0] in "()" else found[0], text)


def quote_names(arguments: Iterable[str]) -> list[str]:
    """A command line on which prepare.dataset may be any folder's name as it is, `name/`, or its path, and any other
    setting a file or folder that is there, as it is called from here.

    What names nothing that is there stays as it is: several in a sweep, what Hydra's own quotes are around, a slip.
    """
    given = list(arguments)
    raw = _find_raw(given)
    return [_quote_path(_quote_dataset(argument, raw)) for argument in given]


def _quote_dataset(argument: str, raw: Path) -> str:
    found = _DATASET.fullmatch(argument)
    if not found:
        return argument
    path = Path(found[2])
    # A name in the datasets' folder, or a path to there from here.
    for folder in (raw / path, path):
        if folder.is_dir() and folder.absolute().parent == raw.absolute():
            return f"{found[1]}={quote_value(folder.name)}"
    return argument


def _quote_path(argument: str) -> str:
    found = _SETTING.fullmatch(argument)
    if not found or _PLAIN_PATH.fullmatch(found[2]) or not os.path.exists(found[2]):
        return argument
    return f"{found[1]}={quote_value(found[2])}"


def _find_raw(arguments: Iterable[str]) -> Path:
    """The folder of all datasets; where conf says nothing that can be read, Hydra tells it."""
    given = [argument.removeprefix("paths.raw=") for argument in arguments if argument.startswith("paths.raw=")]
    if given:
        return Path(given[-1].strip("'\""))
    try:
        return Path(yaml.safe_load(PATHS.read_text(encoding="utf-8"))["paths"]["raw"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return Path("data/raw")
