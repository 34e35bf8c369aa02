"""The squared error: d^2, with d = prediction - target."""

from typing import Any

from torch import Tensor

from lorakiln.schema.objectives import ObjectiveSettings


def compute_errors(prediction: Tensor, target: Tensor, objective: ObjectiveSettings) -> Tensor:
    return (prediction - target).square().mean(dim=(1, 2, 3))


def tell_kohya(objective: ObjectiveSettings) -> dict[str, Any]:
    return {"ss_loss_type": "l2"}
