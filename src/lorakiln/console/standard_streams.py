"""A program's three streams, where its starter has closed one, or where nothing more can be written to one."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

NAMES = ("stdin", "stdout", "stderr")


class StreamError(OSError):
    """Nothing more can be written to a stream; `filename` says which one it is."""


class UnreadError(SystemExit):
    """Whoever read what this program prints has ended, as `head` does: so does it, as by SIGPIPE.

    No error that typer, rich or Hydra would take for one of theirs.
    """

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGPIPE)


def open_closed_streams() -> None:
    """Lead to nowhere those that are closed (`>&-`), for Python has None in their place.

    The number of a closed one would be that of the next file which is opened, and what a library or a program that is
    started prints would land in it.
    """
    closed = [(number, name) for number, name in enumerate(NAMES) if getattr(sys, name) is None]
    for number, _ in closed:
        if not _is_open(number):  # else it is the number of a file by now
            _lead_nowhere(number)
    for _, name in closed:
        reads = name == "stdin"
        opened = os.open(os.devnull, os.O_RDONLY if reads else os.O_WRONLY)
        setattr(sys, name, os.fdopen(opened, "r" if reads else "w", encoding="utf-8"))


@contextmanager
def naming_streams() -> Iterator[None]:
    """Meanwhile what cannot be printed is a StreamError or an UnreadError, not an OSError that names nothing."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Named(before[0], "standard output"), _Named(before[1], "standard error")
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _lead_nowhere(number: int) -> None:
    opened = os.open(os.devnull, os.O_RDWR)
    if opened == number:
        os.set_inheritable(number, True)
        return
    os.dup2(opened, number)
    os.close(opened)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


class _Named:
    """A stream whose errors say what it is."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name = stream, name

    def write(self, text: str) -> int:
        with self._naming():
            return self._stream.write(text)

    def writelines(self, lines: Any) -> None:
        with self._naming():
            self._stream.writelines(lines)

    def flush(self) -> None:
        with self._naming():
            self._stream.flush()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What is in the stream's own memory Python would try to write once more when it ends.
            with suppress(OSError, ValueError):  # one that has no number
                _lead_nowhere(self._stream.fileno())
            if isinstance(error, BrokenPipeError):
                raise UnreadError from error
            raise StreamError(error.errno, error.strerror, self._name) from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
