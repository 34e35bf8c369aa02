"""Losses between what the network answers and what it should: a file for each kind, found by `train.objective.kind`.

A new kind is three new files: here one with what `LossKind` asks for, its settings in `schema/objectives/`, and
`conf/train/objective/<name>.yaml`.
"""

from typing import Any, Protocol

from torch import Tensor

from lorakiln.diffusion.process import Process
from lorakiln.schema.objectives import OBJECTIVES, ObjectiveSettings


class LossKind(Protocol):
    """A kind's module in this folder."""

    def compute_errors(
        self, prediction: Tensor, target: Tensor, objective: ObjectiveSettings, process: Process, t: Tensor
    ) -> Tensor:
        """The error of each number of a prediction, (B, C, h, w), as prediction and target are.

        Args:
            process: how the pictures were noised, for what depends on how much.
            t: (B,) as the process counts times.
        """
        ...

    def make_kohya_metadata(self, objective: ObjectiveSettings) -> dict[str, Any]:
        """What the metadata of a LoRA file says of it: sd-scripts' ss_loss_type, and ss_huber_* where it has a
        threshold.
        """
        ...


def find_loss(kind: str) -> LossKind:
    """The code of the kind that settings name."""
    found: LossKind = OBJECTIVES.find(kind)
    return found
