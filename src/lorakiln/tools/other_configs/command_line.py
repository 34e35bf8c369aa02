"""The command of a training script in a shell's, a batch or a PowerShell file, as the file's own lines make it."""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from lorakiln.tools.other_configs.words_alone import SCRIPTS

SCRIPT = re.compile(r"([\w-]+)\.py\b")
TRAINING = re.compile(f"train|{SCRIPTS}")
VALUE = r"""(?:"[^"]*"|'[^']*'|[^\s"'();])*"""
# A=1 B="two", export A=1; set A=1, and with spaces set "A=a value"; $A = "one"
SHELLS = re.compile(rf"(\s*)(?:export\s+)?(\w+={VALUE}(?:[ \t]+\w+={VALUE})*)\s*;?\s*$")
BATCHES = re.compile(r"""(\s*)set\s+("?)(\w+)=([^"]*)\2\s*$""", re.IGNORECASE)
POWERSHELLS = re.compile(rf"(\s*)\$(\w+)\s*=\s*({VALUE})\s*;?\s*$")
COMMENT = re.compile(r"\s*(#|rem\s|::)", re.IGNORECASE)
# What ends a command's words: |, &&, ;, > log.txt, 2>&1
OPERATOR = re.compile(r"[|;&]{1,2}|<|&?\d?>{1,2}\S*")
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
        windows: whether it is a batch or a PowerShell file, in which a backslash is a letter. In a command that has a
            path with a drive's letter it is one in any case.

    Raises:
        ValueError: a quote in it is not closed.
    """
    # A line goes on after \ in a shell, ^ in a batch file, ` in PowerShell.
    lines = [line if windows else _cut_comment(line) for line in text.splitlines() if not COMMENT.match(line)]
    goes_on = r"[\^`][ \t]*\n" if windows else r"[\\^`][ \t]*\n"
    joined = re.sub(goes_on, " ", "\n".join(lines))
    values = _Values(windows)
    found: list[tuple[str, str]] = []
    for line in joined.splitlines():
        if values.assign(line):
            continue
        line = values.fill_in(line)
        scripts = [one for one in SCRIPT.findall(line) if TRAINING.search(one)]
        if scripts and " --" in line:
            found.append((scripts[0], line))
    if not found:
        return None
    script, line = found[0]
    words = _split(line, windows or bool(re.search(r"\b[A-Za-z]:\\", line)))
    begun = next((number for number, word in enumerate(words, 1) if f"{script}.py" in word), len(words))
    given = list(takewhile(lambda word: not OPERATOR.fullmatch(word), words[begun:]))
    return Command(
        script,
        [word for word in given if not LIST.search(word)],
        _find_all(VARIABLE, given),
        _find_all(LIST, given),
        [other for other, _ in found[1:]],
    )


class _Values:
    """What a file's lines assign, line by line.

    Args:
        windows: names that differ in their case alone are one there.
    """

    def __init__(self, windows: bool) -> None:
        self._windows = windows
        self._values: dict[str, str] = {}

    def assign(self, line: str) -> bool:
        """Take what a line assigns; False: it is another line."""
        if match := BATCHES.match(line):
            self._set(match[1], match[3], self.fill_in(match[4]))
        elif match := POWERSHELLS.match(line.partition(" #")[0]):
            self._set(match[1], match[2], self._read(match[3]))
        elif match := SHELLS.match(line):
            for name, value in re.findall(rf"(\w+)=({VALUE})", match[2]):
                self._set(match[1], name, self._read(value))
        else:
            return False
        return True

    def fill_in(self, text: str) -> str:
        """The text with the values in the place of the variables that have one."""

        def find_value(match: re.Match[str]) -> str:
            value, usual = self._values.get(self._name(match[1] or match[3] or match[4])), match[2]
            if not value and usual is not None:
                return usual
            return match[0] if value is None else value

        return VARIABLE.sub(find_value, text)

    def _set(self, indent: str, name: str, value: str) -> None:
        # What stands inside a condition may not come to pass: a value that is there already is kept.
        if not (indent and self._name(name) in self._values):
            self._values[self._name(name)] = value

    def _read(self, value: str) -> str:
        """A value without its quotes, of which the single ones keep what is in them."""
        parts = re.findall(r"""'[^']*'|"[^"]*"|[^'"]+""", value)
        return "".join(one[1:-1] if one[0] == "'" else self.fill_in(one.strip('"')) for one in parts)

    def _name(self, name: str) -> str:
        return name.lower() if self._windows else name


def _cut_comment(line: str) -> str:
    """A shell's line without the comment at its end: a # at the beginning of a word, outside of quotes."""
    quote, before = "", " "
    for at, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote and before != "\\" else quote
        elif letter in "\"'" and before != "\\":
            quote = letter
        elif letter == "#" and before.isspace():
            return line[:at]
        before = letter
    return line


def _find_all(pattern: re.Pattern[str], words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(match[0] for word in words for match in pattern.finditer(word)))


def _split(line: str, windows: bool) -> list[str]:
    """The words of a command, without quotes.

    Raises:
        ValueError: a quote is not closed.
    """
    if not windows:
        return shlex.split(line)
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
