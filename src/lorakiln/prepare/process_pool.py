"""The same work on many files, in several processes, results in order."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait
from typing import Any, TypeVar

from lorakiln.console.errors import UserError

Result = TypeVar("Result")

AHEAD = 4  # files a process has waiting, so that none idles
FILES_EACH = 32  # starting a process costs about as much as this many small pictures

_work: Callable[[str], Any] | None = None  # what a process of the pool does


def map_in_order(work: Callable[[str], Result], files: Sequence[str], workers: int) -> Iterator[Result]:
    """Yield `work(file)` for every file, in order.

    Args:
        work: can be pickled; sent to each process once.
        workers: processes; with 1, the work is done in this one.

    Raises:
        UserError: a process was killed; the files that it may have been reading are named.
    """
    if workers == 1:
        yield from map(work, files)
        return
    # Spawned, not forked: torch may have started threads here.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(work,)) as pool:
        waiting: deque[tuple[str, Future[Result]]] = deque()
        try:
            for file in files:
                with _deaf_children():
                    waiting.append((file, pool.submit(_do, file)))
                if len(waiting) >= workers * AHEAD:
                    yield _next(waiting)
            while waiting:
                yield _next(waiting)
        except BrokenProcessPool:
            raise _killed([file for file, _ in waiting], workers) from None
        except BaseException:
            for process in multiprocessing.active_children():  # nobody waits for what they are at
                process.terminate()
            raise


def _next(waiting: deque[tuple[str, Future[Result]]]) -> Result:
    result = waiting[0][1].result()
    waiting.popleft()  # only now: of a killed process, the file is to be named
    return result


def count_workers(wanted: int | None, files: int) -> int:
    """How many processes are worth it: at most one a core, and fewer for few files."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return wanted or max(1, min(cores, files // FILES_EACH))


def _killed(files: list[str], workers: int) -> UserError:
    names = ", ".join(files[: workers * AHEAD]) or "the last ones"
    return UserError(
        f"a process that read pictures was killed; it was at one of: {names}",
        fix="out of memory, most likely: lower prepare.workers, or take out or shrink the largest of these files",
    )


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes that are started meanwhile never hear of Ctrl-C, which is their parent's to handle.

    It is blocked and not ignored: one that comes just now reaches this process a moment later.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start(work: Callable[[str], Any]) -> None:
    global _work
    _work = work
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """End when the parent has ended, however it did: else its processes would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a process of the pool
    wait([parent.sentinel])
    os._exit(1)


def _do(file: str) -> Any:
    assert _work is not None  # `_start` was called first
    return _work(file)
