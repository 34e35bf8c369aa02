"""What to do when a device is out of memory: take fewer at once, say so, and end with advice that fits."""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
def telling_no_memory(what: str, fix: str = "") -> Iterator[None]:
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
