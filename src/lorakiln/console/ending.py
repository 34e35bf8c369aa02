"""Ctrl-C and SIGTERM end a program with one line and the status that shells know, wherever it is."""

import os
import signal
import threading
import time
from types import FrameType

STATUS_OF = {number: 128 + number for number in (signal.SIGINT, signal.SIGTERM)}
PATIENCE = 30.0  # seconds for cleaning up, after which the program ends in any case


def end_by_signals(patience: float = PATIENCE) -> None:
    """From now on SIGINT (Ctrl-C) ends this program with status 130, SIGTERM with 143.

    To be called first of all, before anything large is imported. Training takes the signals over while it runs, and
    gives them back. The second signal ends the program without cleaning up.
    """
    program, came = os.getpid(), []

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != program:  # a fork, whose end is for its parent to tell
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        if came:
            os._exit(STATUS_OF[number])
        came.append(number)
        # Not by `print`, which may be what was interrupted.
        os.write(2, f"interrupted by {signal.Signals(number).name}: what is finished is kept\n".encode())
        threading.Thread(target=_end_later, args=(STATUS_OF[number], patience), daemon=True).start()
        raise SystemExit(STATUS_OF[number])

    for number in STATUS_OF:
        signal.signal(number, end)


def _end_later(status: int, patience: float) -> None:
    """Python loses the exception in a finalizer, and may wait for a thread without end."""
    time.sleep(patience)
    os._exit(status)
