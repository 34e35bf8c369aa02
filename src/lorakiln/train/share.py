"""What one of the processes that train together takes of the work, and in which precision it computes."""

from dataclasses import dataclass

import torch

from lorakiln.train.precision import HALVES


@dataclass(frozen=True)
class Share:
    """The part of the global batch that this process takes.

    Attributes:
        rank, world: this process among all.
        bf16, fp16: whether the network computes in bfloat16, or in float16 with loss scaling (autocast; the adapter's
            weights stay float32).
    """

    rank: int = 0
    world: int = 1
    bf16: bool = False
    fp16: bool = False

    @property
    def precision(self) -> str:
        """As the settings name it."""
        return "bf16" if self.bf16 else "fp16" if self.fp16 else "fp32"

    @property
    def half(self) -> torch.dtype | None:
        """What the network computes in, where that is half precision."""
        return HALVES.get(self.precision)
