"""The same work on many things, in several processes, results in order."""

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

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 4  # of what there is to do a process has so many waiting, so that none idles

_work: Callable[[Any], Any] | None = None  # what a process of the pool does


def map_in_order(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    explain: Callable[[Sequence[Item]], UserError],
) -> Iterator[Result]:
    """Yield `work(item)` for every item, in order.

    Args:
        work: can be pickled; sent to each process once.
        workers: processes; with 1, the work is done in this one.
        explain: the error of a process that was killed, from the items of which it was at one.

    Raises:
        UserError: a process was killed.
    """
    if workers == 1:
        yield from map(work, items)
        return
    # Spawned, not forked: torch may have started threads here.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=_start, initargs=(work,)) as pool:
        waiting: deque[tuple[Item, Future[Result]]] = deque()
        try:
            for item in items:
                with _deaf_children():
                    waiting.append((item, pool.submit(_do, item)))
                if len(waiting) >= workers * AHEAD:
                    yield _next(waiting)
            while waiting:
                yield _next(waiting)
        except BrokenProcessPool:
            raise explain([item for item, _ in waiting][: workers * AHEAD]) from None
        except BaseException:
            for process in multiprocessing.active_children():  # nobody waits for what they are at
                process.terminate()
            raise


def _next(waiting: deque[tuple[Item, Future[Result]]]) -> Result:
    result = waiting[0][1].result()
    waiting.popleft()  # only now: of a killed process, what it was at is to be named
    return result


def count_workers(wanted: int | None, items: int, worth: int) -> int:
    """How many processes are worth it: at most one a core, and fewer for few items.

    Args:
        wanted: as many in any case; None: what is worth it.
        worth: to start a process costs about as much as the work on so many.
    """
    return wanted or max(1, min(count_cores(), items // worth))


def count_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


def _start(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """End when the parent has ended, however it did: else its processes would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a process of the pool
    wait([parent.sentinel])
    os._exit(1)


def _do(item: Any) -> Any:
    assert _work is not None  # `_start` was called first
    return _work(item)
