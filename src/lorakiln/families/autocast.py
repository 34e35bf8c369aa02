"""What computes in its own precision amid a network's autocast."""

from contextlib import AbstractContextManager

import torch


def leave_autocast(kind: str) -> AbstractContextManager[None]:
    """Within it the caller's autocast converts nothing.

    Args:
        kind: of a device. Torch has no autocast for the meta device, where memory is counted by the CPU's.
    """
    return torch.autocast(kind if torch.amp.is_autocast_available(kind) else "cpu", enabled=False)
