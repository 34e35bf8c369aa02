"""How processes that torchrun or SLURM has started learn that another of them is gone.

A broken connection tells it at the next all-reduce, but not while a process draws or waits, nor on GPUs, where NCCL
waits for two hours, nor of a machine that has stopped. So each counts in the store that all of them share, and looks
whether the others do.
"""

import os
import sys
import threading
import time
from collections.abc import Callable

import torch
import torch.distributed as dist

INTERVAL = 2.0  # seconds between beats
SILENCE = 30.0  # seconds without one after which a process is given up


class Heartbeat:
    """Beats in a thread of its own, and looks for the others' beats, until `end`.

    Another thread looks after the first: where the store's own process hangs, so does who asks it.

    Args:
        store: shared by all processes; the first one's own process holds it.
        lost: called once, in a thread, with the number of the first process that is silent for too long.
    """

    def __init__(
        self,
        store: dist.Store,
        rank: int,
        world: int,
        lost: Callable[[int], object],
        interval: float = INTERVAL,
        silence: float = SILENCE,
    ) -> None:
        self.store, self.rank, self.lost = store, rank, lost
        self.interval, self.silence = interval, silence
        now = time.monotonic()
        self._seen = {other: (-1, now) for other in range(world) if other != rank}
        self._answered = now
        self._silent: int | None = None
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="pulse", daemon=True)
        self._beating.start()
        threading.Thread(target=self._look, name="looks-after-pulse", daemon=True).start()

    def end(self) -> None:
        """Say that this process needs the others no more, and look no more."""
        self._ended.set()
        self._beating.join(timeout=2 * self.interval)

    def _beat(self) -> None:
        try:
            while not self._ended.wait(self.interval):
                self.store.add(f"pulse/{self.rank}", 1)
                self._silent = next((other for other in self._seen if self._is_silent(other)), None)
                self._answered = time.monotonic()
            self.store.add(f"ended/{self.rank}", 1)
        except RuntimeError:  # the store is gone, with the process that holds it: `_look` sees it
            return

    def _is_silent(self, other: int) -> bool:
        beats, now = self.store.add(f"pulse/{other}", 0), time.monotonic()
        if beats != self._seen[other][0]:
            self._seen[other] = (beats, now)
        return now - self._seen[other][1] > self.silence and not self.store.add(f"ended/{other}", 0)

    def _look(self) -> None:
        while not self._ended.wait(self.interval):
            silent = 0 if time.monotonic() - self._answered > self.silence else self._silent
            if silent is not None:
                self.lost(silent)
                return


def share_store(rank: int, host: str, group: dist.ProcessGroup) -> dist.Store:
    """A store of all processes, which the first one holds, on a free port that it tells the others.

    Args:
        host: the first process's machine, as the others reach it.
        group: all processes, on the CPU.
    """
    store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False) if rank == 0 else None
    port = torch.tensor(store.port if store else 0)
    dist.broadcast(port, 0, group)
    return store or dist.TCPStore(host, int(port), is_master=False)


def end_without(process: int) -> None:
    """Say that a process of this training is gone, and end this one at once: it may hang in a call for the other."""
    print(
        f"error: process {process} of this training has ended or hangs: it has given no sign for {SILENCE:.0f} s\n"
        "  fix: see its own messages; if there are none, it was out of memory most likely, or its machine is gone. The "
        "same command goes on from the last checkpoint",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)
