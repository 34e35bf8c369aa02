"""How many threads a base computes with on the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lorakiln.families.protocol import NETWORK, Family
from lorakiln.families.tensor_memory import count_held_bytes

LARGE = 500_000_000  # bytes of a denoiser's weights; a smaller one fits any machine several times


def is_small(family: Family) -> bool:
    """Whether a CPU computes with a base in no time, and in no memory to speak of; its parts may be absent."""
    return count_held_bytes(family.hollow(NETWORK).network) < LARGE


@contextmanager
def choosing_threads(family: Family) -> Iterator[None]:
    """Let a small base on the CPU compute in one thread; what else there is, as torch has it: a thread a core.

    A small base's operations are shorter than it takes threads to meet. And how many there are decides the last bits
    of a sum, so that pictures would depend on the machine's number of cores.
    """
    before = torch.get_num_threads()
    if family.device.type == "cpu" and is_small(family):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
