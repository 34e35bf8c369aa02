"""The command of a training script in a shell's, a batch or a PowerShell file, as the file's own lines make it."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lorakiln.tools.other_configs.words_alone import SCRIPTS

SCRIPT = re.compile(r"([\w-]+)\.py\b")
TRAINING = re.compile(f"train|{SCRIPTS}")
# NAME=value, export NAME="value", set NAME=value, $NAME = "value", with a comment or without; in a batch file with
# spaces: set "NAME=a value"
ASSIGNED = re.compile(
    r"""(\s*)(?:export\s+|set\s+|\$(?=\w+\s*=))?(\w+)\s*=\s*("[^"]*"|'[^']*'|[^\s"'()]+)\s*;?\s*(?:\#.*)?$""",
    re.IGNORECASE,
)
SET = re.compile(r"""(\s*)set\s+"(\w+)=([^"]*)"\s*$""", re.IGNORECASE)
COMMENT = re.compile(r"\s*(#|rem\s|::)", re.IGNORECASE)
# $NAME, ${NAME}, ${NAME:-value}, %NAME%
VARIABLE = re.compile(r"\$\{(\w+)(?::?-([^{}]*))?\}|\$([A-Za-z_]\w*)|%([A-Za-z_]\w*)%")
# All that a list holds: "${NAME[@]}", and @NAME in PowerShell.
LIST = re.compile(r"\$\{\w+\[[@*]\]\}|(?<!\S)@\w+")


@dataclass(frozen=True)
class Command:
    """A command that runs a training script.

    Attributes:
        script: without ".py".
        words: that the script is given, without quotes.
        unassigned: variables among them that the file gives no value, as they stand there.
        lists: among them, as they stand there; what they hold is not known.
        others: the training scripts that the file's other commands run.
    """

    script: str
    words: Sequence[str]
    unassigned: Sequence[str]
    lists: Sequence[str]
    others: Sequence[str]

    def read_options(self) -> dict[str, Any]:
        """Its options by name: `--name value`, `--name=value`, `--flag`, `--name one two`."""
        return read_words(self.words)


def find_command(text: str, windows: bool) -> Command | None:
    """The first command that runs a training script, whatever starts it; None: there is none.

    Args:
        windows: whether a backslash is a letter; where the command has a path with a drive's letter it is in any case.

    Raises:
        ValueError: a quote in it is not closed.
    """
    # A line goes on after \ in a shell, ^ in a batch file, ` in PowerShell.
    lines = re.sub(r"[\\^`][ \t]*\r?\n", " ", text).splitlines()
    values: dict[str, str] = {}
    found: list[tuple[str, str]] = []
    for line in lines:
        if COMMENT.match(line):
            continue
        if match := SET.match(line) or ASSIGNED.match(line):
            inside, name, value = match.groups()
            # What stands inside a condition may not come to pass: a value that is there already is kept.
            if not (inside and name in values):
                values[name] = value[1:-1] if value[:1] == "'" else _fill_in(value.strip('"'), values)
            continue
        line = _fill_in(line, values)
        scripts = [one for one in SCRIPT.findall(line) if TRAINING.search(one)]
        if scripts and " --" in line:
            found.append((scripts[0], line))
    if not found:
        return None
    script, line = found[0]
    words = _split(line, windows or bool(re.search(r"\b[A-Za-z]:\\", line)))
    given = words[1 + next(number for number, word in enumerate(words) if f"{script}.py" in word) :]
    lists = _find_all(LIST, given)
    return Command(
        script,
        [word for word in given if not LIST.search(word)],
        _find_all(VARIABLE, given),
        lists,
        [other for other, _ in found[1:]],
    )


def _find_all(pattern: re.Pattern[str], words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(match[0] for word in words for match in pattern.finditer(word)))


def _fill_in(text: str, values: Mapping[str, str]) -> str:
    """The text with the values in the place of the variables that have one."""

    def find_value(match: re.Match[str]) -> str:
        value, usual = values.get(match[1] or match[3] or match[4]), match[2]
        if not value and usual is not None:
            return usual
        return match[0] if value is None else value

    return VARIABLE.sub(find_value, text)


def _split(line: str, windows: bool) -> list[str]:
    """The words of a command, without quotes.

    Raises:
        ValueError: a quote is not closed.
    """
    if not windows:
        return shlex.split(line, comments=True)
    # There a backslash is a letter, and quotes may stand within a word: --vae="C:\a b".
    words = re.findall(r"""(?:[^\s"']|"[^"]*"|'[^']*')+""", line)
    if len(re.sub(r"""[^"]""", "", line)) % 2:
        raise ValueError("No closing quotation")
    return [re.sub(r"""["']""", "", word) for word in words]


def read_words(words: Sequence[str]) -> dict[str, Any]:
    """The options of a command's words: `--name value`, `--name=value`, `--flag`, `--name one two`."""
    options: dict[str, Any] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, given, value = word[2:].partition("=")
            options[name] = value if given else True
        elif name:
            options[name] = word if options[name] is True else [*_listed(options[name]), word]
    return options


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
