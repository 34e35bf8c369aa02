"""Signals ask a sweep to end: the running jobs save their state, no other starts."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from lorakiln.console.exit_signals import SIGNALS


class Stop:
    """A request to end, seen by all threads.

    Attributes:
        signal: the number of the last signal, or 0.
        count: how many have come; the second of a kind ends a job at once.
    """

    def __init__(self) -> None:
        self.signal, self.count = 0, 0
        self._event = threading.Event()

    @property
    def asked(self) -> bool:
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        """Wait, but not longer than until the request."""
        self._event.wait(seconds)

    def ask(self, number: int = signal.SIGTERM, frame: FrameType | None = None) -> None:
        self.signal, self.count = number, self.count + 1
        self._event.set()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals over, in a program's main thread; elsewhere nothing changes."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.ask) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def exit_if_asked(self) -> None:
        """Raise SystemExit with 128 + the signal if there was one."""
        if self.asked:
            print("sweep: interrupted; the same command goes on where it was", file=sys.stderr, flush=True)
            sys.exit(128 + self.signal)
