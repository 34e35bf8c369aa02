"""The one place that makes text from files, names and prompts safe for a terminal: every door prints through it.

Foreign text may hold escape sequences, which move the cursor, hide what stands there or type for the user, and
characters that turn the direction of what follows (U+202E), so that a line shows another name than it has.
"""

import contextlib
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any, TextIO

from lorakiln.console.exit_signals import mark_line

# Controls, half characters, and separators of lines that are no line breaks; and of the invisible formatting characters
# all but those which join the letters of Persian and the parts of an emoji.
CATEGORIES = {"Cc", "Cs", "Zl", "Zp", "Cf"}
JOINERS = "\u200c\u200d"
UP = "\x1b[A"  # what progress bars of other libraries move with, alone in one piece


def escape_text(text: str) -> str:
    """`text` with what a terminal acts upon, or does not show, as escapes: "\\x1b[31m"; line breaks and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(one if one in "\n\t" else _shown(one) for one in text)


def escape_line(text: str) -> str:
    """The same for what stands within a line, such as a file's name: line breaks and tabs are escapes, too."""
    return "".join(map(_shown, text))


def _shown(one: str) -> str:
    harmful = unicodedata.category(one) in CATEGORIES and one not in JOINERS
    return ascii(one)[1:-1] if harmful else one


@contextlib.contextmanager
def printing_safely() -> Iterator[None]:
    """Meanwhile all that is printed, by us or by a library, is `escape_text`; rich's own output is left as it is."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Screen(before[0]), _Screen(before[1], marked=True)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class _Screen:
    """A stream whose texts are made visible on their way to another.

    Args:
        marked: an interrupt's line goes there too.
    """

    def __init__(self, stream: TextIO, marked: bool = False) -> None:
        self._stream, self._marked = stream, marked
        # There rich writes: what it draws consists of escape sequences. While it draws, `stream` is one of its own.
        self.rich_proxied_file = getattr(stream, "rich_proxied_file", stream)

    def write(self, text: str) -> int:
        stream = self._stream
        if text and self._marked:
            mark_line(within=True)
        if text.replace(UP, "").strip("\n"):
            # A progress bar begins with the carriage return; within a text it would hide what stands before it.
            start = "\r" if text.startswith("\r") else ""
            stream.write(start + escape_text(text[len(start) :]))
        else:
            stream.write(text)
        if text.endswith("\n") and self._marked:
            mark_line(within=False)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
