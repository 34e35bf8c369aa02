"""Memory: what to do when a device is out of it, which is to take fewer at once and say so; and how much was held."""

import gc
import re
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import torch

from lorakiln.console.errors import UserError

T = TypeVar("T")
TIGHT = 6_000_000_000  # bytes: beside its loaded parts, the largest base takes 4 GB to draw; docs/memory.md
REFUSED = "can't allocate memory"  # what torch's allocator says on the CPU, in a plain RuntimeError


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that the device, or the machine, has no memory left."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or REFUSED in str(error)


class Batch:
    """How many are taken at once: halved whenever the device has no memory for so many.

    Args:
        size: how many at first, 1 or more.
        doing: what is done, for the message ("drawing").
        setting: what decides the size, for the message ("evaluate.batch_size"); "" if nothing does.
        advice: what helps when even one is too many.
    """

    def __init__(self, size: int, doing: str, setting: str = "", advice: str = "") -> None:
        self.size, self.doing, self.setting, self.advice = size, doing, setting, advice
        self._told = False

    def attempt(self, work: Callable[[], T]) -> T | None:
        """What `work` returns; None if memory ran out, and `size` is then half of what it was.

        Raises:
            UserError: memory ran out with one at once.
        """
        try:
            return work()
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # Only here: while the error is handled, its frames hold what did not fit.
        free_memory()
        self._halve()
        return None

    def fill(self, items: Sequence[T]) -> tuple[list[T], int]:
        """The next `size` items, filled up by repeating the last, and how many of them are items.

        All batches have one shape: then an item's bits depend neither on how many others there are nor on its place
        among them, and adding one gives the bits that a fresh run gives.
        """
        batch = list(items[: self.size])
        return batch + batch[-1:] * (self.size - len(batch)), len(batch)

    def _halve(self) -> None:
        if self.size == 1:
            fix = self.advice or "end what else uses the device"
            raise UserError(f"{self.doing}: out of memory with one picture at once", fix=fix)
        if not self._told:
            self._told = True
            spare = f" (a smaller {self.setting} spares the attempt)" if self.setting else ""
            said = f"{self.doing}: out of memory with {self.size} at once, so fewer from here on{spare}"
            print(said, file=sys.stderr, flush=True)
        self.size //= 2


@contextmanager
def explaining_no_memory(what: str, fix: str = "") -> Iterator[None]:
    """Turn what the device says that has no memory for what is done inside into a UserError.

    Args:
        what: is out of memory, or when ("evaluating").
        fix: what helps.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(f"{what}: out of memory", fix=fix or "end what else uses the device") from error


def free_memory() -> None:
    """Give back what no one holds any more: what cycles keep alive, and the device's cache of free blocks."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def is_tight(device: torch.device) -> bool:
    """Whether what does not work had better leave the device: a GPU with little memory left."""
    return device.type == "cuda" and torch.cuda.mem_get_info(device)[0] < TIGHT


def forget_peak_memory() -> None:
    """Have `read_peak_memory` tell of what comes from now on; of a process, Linux alone can (proc(5))."""
    if torch.cuda.is_initialized():  # else it would take a context of the first GPU, whichever one is to be used
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):  # another system, or a container that does not allow it
        Path("/proc/self/clear_refs").write_text("5")


def read_peak_memory(device: torch.device) -> int:
    """The most bytes held so far: by tensors on a GPU, and, of work on the CPU, by this process, libraries and all."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with suppress(OSError):  # not Linux
        if found := re.search(r"^VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE):
            return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
