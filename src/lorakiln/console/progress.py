"""Progress with rate and time left: a bar on a terminal, plain lines elsewhere (logs, CI).

What is made in batches is counted in batches, when each is done: the first of a batch's pictures comes after the time
that all of them took, and the time left would be told as many times too long.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from lorakiln.console.terminal_text import printing_safely


class PlainLines:
    """Prints a line at most every `interval` seconds, and one at the end."""

    def __init__(self, title: str, total: int, unit: str, interval: float = 15.0) -> None:
        self.title, self.total, self.unit, self.interval = title, total, unit, interval
        self.done, self.start, self.last = 0, time.monotonic(), time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count
        now = time.monotonic()
        if self.done >= self.total or now - self.last >= self.interval:
            self.last = now
            rate = self.done / max(now - self.start, 1e-9)
            left = (self.total - self.done) / max(rate, 1e-9)
            text = (
                f"{self.title}: {self.done}/{self.total} {self.unit}, {format_rate(rate)}, {format_duration(left)} left"
            )
            print(f"{text}  {note}".rstrip(), file=sys.stderr, flush=True)


class Bar:
    """The same on a terminal, drawn by rich."""

    def __init__(self, progress: Progress, task: TaskID, unit: str) -> None:
        self.progress, self.task, self.unit, self.start, self.done = progress, task, unit, time.monotonic(), 0

    def advance(self, count: int = 1, note: str = "") -> None:
        self.done += count
        rate = self.done / max(time.monotonic() - self.start, 1e-9)
        self.progress.update(self.task, advance=count, note=f"{self.unit}: {format_rate(rate)}  {note}")


@contextmanager
def show_progress(title: str, total: int, unit: str = "pictures") -> Iterator[PlainLines | Bar]:
    """Yield an object whose `advance(count, note)` reports that `count` more of `total` are done."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield PlainLines(title, total, unit)
        return
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    ]
    # While it draws, rich takes over what others print.
    with Progress(*columns, console=console) as bars, printing_safely():
        yield Bar(bars, bars.add_task(title, total=total, note=""), unit)


def format_rate(rate: float) -> str:
    """How fast, from how many a second: "12.3/s", and what takes longer than a second "8.4 s each"."""
    return f"{rate:.1f}/s" if rate >= 1 else f"{1 / max(rate, 1e-9):.1f} s each"


def format_duration(seconds: float) -> str:
    """A time to wait, in the unit that one waits in: "75 s", "12 min", "3.4 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
