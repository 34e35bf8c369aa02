"""Ctrl-C, SIGTERM and SIGUSR1 end a program with one line and the status that shells know, wherever it is.

A handler that raises does not suffice. Python drops what is raised in a finalizer, libraries swallow it or make another
error of it, and a module that is torn while it is imported breaks those that need it. So the end is asked for again
until it is on its way, not in an import, and in the end it comes without any cleaning up.
"""

import _thread
import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
AGAIN = signal.SIGURG  # what this program sends itself to ask again; by default it is ignored
EVERY = 0.1  # seconds between asking again
IMPORTING = 0.5  # seconds that an import has to come to its end; nothing is lost with what it was for
PATIENCE = 10.0  # seconds for cleaning up

asked: list[int] = []  # the signals that have come, whoever took them
_within_line = False  # whether what was printed last to stderr has not ended its line


class Interrupted(SystemExit):
    """A signal ends the program; `code` is 128 + its number."""


def end_by_signals(patience: float = PATIENCE) -> None:
    """From now on SIGINT (Ctrl-C) ends this program with status 130, SIGTERM with 143, SIGUSR1 with 138.

    To be called before anything else is imported, by a program whose work `exit_on_user_error` calls. Training takes
    the signals over while it steps, and gives them back. The second signal ends the program without cleaning up.

    Args:
        patience: seconds for cleaning up, after which the program ends in any case.
    """
    global _ending
    _ending = _Ending(patience)


def mark_line(within: bool) -> None:
    """To be told by what prints to stderr: whether it stands within a line, behind which an interrupt begins one."""
    global _within_line
    _within_line = within


def find_exit_status() -> int:
    """The exit status of the signal that ends this program; 0 if none does."""
    return _ending.status if _ending else 0


def finish() -> None:
    """To be called once the program's work has returned or failed: a signal that came, or comes, ends it here.

    What Python does last, giving back piece by piece what torch and the models hold, takes seconds and is left out.
    """
    if not _ending:
        return
    _ending.over = True
    if _ending.status:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(_ending.status)


class _Ending:
    """Takes the signals of one process.

    Attributes:
        status: 128 + the number of the signal that came, or 0.
        over: whether the program's work has ended.
    """

    def __init__(self, patience: float) -> None:
        self.program, self.main, self.patience = os.getpid(), threading.get_ident(), patience
        self.status, self.over, self._since = 0, False, 0.0
        for number in SIGNALS:
            signal.signal(number, self.begin)
        signal.signal(AGAIN, self._again)
        # What an interruption breaks on its way is nobody's to mend.
        for owner, name in ((sys, "unraisablehook"), (threading, "excepthook")):
            setattr(owner, name, self._silenced(getattr(owner, name)))

    def begin(self, number: int, frame: FrameType | None) -> None:
        """The signals' handler."""
        if os.getpid() != self.program:  # a fork, whose end is for its parent to tell
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if self.status:
            os._exit(128 + number)
        asked.append(number)
        self.status, self._since = 128 + number, time.monotonic()
        # Not by `print`, which may be what was interrupted. A terminal shows ^C before it, and maybe a bar.
        start = "\n" if _within_line or os.isatty(2) else ""
        with contextlib.suppress(OSError):
            os.write(2, f"{start}interrupted by {signal.Signals(number).name}: what is finished is kept\n".encode())
        if self.over:
            os._exit(self.status)
        # Not by `threading.Thread`, whose locks may be held by what was interrupted.
        _thread.start_new_thread(self._insist, ())
        self._again(AGAIN, frame)

    def _again(self, number: int, frame: FrameType | None) -> None:
        if not self.status or self.over or os.getpid() != self.program or _is_on_its_way():
            return
        if not _is_importing(frame):
            raise Interrupted(self.status)
        if time.monotonic() - self._since > min(IMPORTING, self.patience):
            os._exit(self.status)

    def _insist(self) -> None:
        while time.monotonic() - self._since < self.patience:
            time.sleep(EVERY)
            signal.pthread_kill(self.main, AGAIN)  # unlike a flag, it wakes what waits for a lock
        os._exit(self.status)

    def _silenced(self, hook: Any) -> Any:
        return lambda unraisable: None if self.status else hook(unraisable)


_ending: _Ending | None = None


def _is_on_its_way() -> bool:
    """Whether an `Interrupted` is being handled: what runs now is a `finally`, an `__exit__` or the like."""
    error = sys.exc_info()[1]
    while error and not isinstance(error, Interrupted):
        error = error.__context__
    return error is not None


def _is_importing(frame: FrameType | None) -> bool:
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None
