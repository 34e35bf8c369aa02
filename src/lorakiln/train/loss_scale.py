"""Loss scaling for float16 (arXiv 1710.03740): small gradients would be zero in it, so the loss is multiplied, and the
gradients are divided again before they are used.

The factor is found on the way, as torch.amp.GradScaler finds it and with its numbers; on the device, with no wait.
"""

import torch
from torch import Tensor

START, GROWTH, BACKOFF, INTERVAL = 2.0**16, 2.0, 0.5, 2000


class LossScale:
    """The factor: halved after a step whose gradients overflow, which is left out, and doubled after 2,000 steps in a
    row without one. Powers of two alone, so that multiplying changes no bit of what stays in range.

    Attributes:
        value: 0-dimensional, float32.
    """

    def __init__(self, device: torch.device) -> None:
        self.value = torch.full((), START, device=device)
        self._streak = torch.zeros((), dtype=torch.int32, device=device)

    def update(self, overflow: Tensor) -> None:
        """Note whether a step's gradients overflowed (bool, 0-dimensional)."""
        streak = torch.where(overflow, 0, self._streak + 1)
        grown = streak == INTERVAL
        more = self.value * GROWTH
        # As torch does: not beyond what float32 holds.
        larger = torch.where(grown & more.isfinite(), more, self.value)
        self.value.copy_(torch.where(overflow, self.value * BACKOFF, larger))
        self._streak.copy_(torch.where(grown, 0, streak))

    def tensors(self) -> dict[str, Tensor]:
        """Its state by name; they are its own."""
        return {"value": self.value, "streak": self._streak}

    def put(self, tensors: dict[str, Tensor]) -> None:
        """The state that `tensors` gave.

        Raises:
            KeyError: something is missing.
        """
        for name, mine in self.tensors().items():
            mine.copy_(tensors[name])
