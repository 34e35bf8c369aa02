"""Pseudo-Huber: 2 delta (sqrt(d^2 + delta^2) - delta), with d = prediction - target and delta = huber_delta.

As in diffusers' and kohya's scripts: d^2 where d is small, and growing like |d| where it is large.
"""

from typing import Any

from torch import Tensor

from lorakiln.schema.objectives import ObjectiveSettings


def compute_errors(prediction: Tensor, target: Tensor, objective: ObjectiveSettings) -> Tensor:
    d, delta = prediction - target, objective.huber_delta
    loss = 2 * delta * ((d.square() + delta**2).sqrt() - delta)
    return loss.mean(dim=(1, 2, 3))


def tell_kohya(objective: ObjectiveSettings) -> dict[str, Any]:
    return {"ss_loss_type": "huber", "ss_huber_c": objective.huber_delta}
