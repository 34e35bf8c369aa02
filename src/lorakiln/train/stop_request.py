"""Signals ask for an end; the training loop grants it between two steps.

Exit status after a stop that saved: 128 + the signal's number: 143 for SIGTERM, 130 for SIGINT (Ctrl-C), 138 for
SIGUSR1 (what schedulers send some minutes before they kill).
"""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from lorakiln.console.exit_signals import SIGNALS, asked

Handler = Callable[[int, FrameType | None], Any] | int | None


class StopRequest:
    """Remembers the first signal; the second of the same kind is the former handler's, which ends the process.

    Attributes:
        signal: the number of the signal that came, or 0.
    """

    def __init__(self) -> None:
        self.signal = 0
        self._before: dict[int, Handler] = {number: signal.getsignal(number) for number in SIGNALS}

    def install(self) -> None:
        """Take the signals over; only a process's main thread can."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._note)

    def remove(self) -> None:
        """Put the former handlers back."""
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal == number:
            before = self._before[number]
            if callable(before) and before is not signal.default_int_handler:
                before(number, frame)
                return
            raise SystemExit(128 + number)
        asked.append(number)
        if not self.signal:
            self.signal = number
