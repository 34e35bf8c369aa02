"""Losses between what the network answers and what it should: a file for each kind, found by `train.objective.kind`.

A new kind is three new files: here one with what `LossKind` asks for, its settings in `schema/objectives/`, and
`conf/train/objective/<name>.yaml`.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from lorakiln.console.errors import UserError
from lorakiln.schema.objectives import OBJECTIVES, ObjectiveSettings


class LossKind(Protocol):
    """A kind's module in this folder."""

    def compute_errors(self, prediction: Tensor, target: Tensor, objective: ObjectiveSettings) -> Tensor:
        """Each picture's error, (B,), the mean over its elements; prediction and target are (B, C, h, w)."""
        ...

    def tell_kohya(self, objective: Mapping[str, Any]) -> dict[str, Any]:
        """What the metadata of a LoRA file says of it: sd-scripts' ss_loss_type, and ss_huber_c where there is one.

        Args:
            objective: the settings train.objective, as facts.json has them.
        """
        ...


def find_loss(kind: str) -> LossKind:
    """The code of a kind.

    Raises:
        UserError: there is none of this name, as where a run was trained with one of a package that is not installed.
    """
    if kind not in OBJECTIVES.names:
        fix = f"install the package that adds it; there are: {', '.join(OBJECTIVES.names)}"
        raise UserError(f"there is no loss {kind!r}", where="train.objective.kind", fix=fix)
    found: LossKind = OBJECTIVES.find(kind)
    return found
