"""Pseudo-Huber: 2 delta (sqrt(d^2 + delta^2) - delta), with d = prediction - target and delta as `threshold` has it.

As in diffusers' and kohya's scripts: d^2 where d is small, and growing like |d| where it is large.
"""

from typing import Any

from torch import Tensor

from lorakiln.diffusion.process import Process
from lorakiln.diffusion.threshold import compute_threshold
from lorakiln.schema.objectives import ObjectiveSettings


def compute_errors(
    prediction: Tensor, target: Tensor, objective: ObjectiveSettings, process: Process, t: Tensor
) -> Tensor:
    d, delta = prediction - target, compute_threshold(process, t, objective)
    return 2 * delta * ((d.square() + delta**2).sqrt() - delta)


def make_kohya_metadata(objective: ObjectiveSettings) -> dict[str, Any]:
    return {"ss_loss_type": "huber", **make_threshold_metadata(objective)}


def make_threshold_metadata(objective: ObjectiveSettings) -> dict[str, Any]:
    """What the metadata says of a loss with a threshold."""
    return {
        "ss_huber_schedule": objective.huber_schedule,
        "ss_huber_c": objective.huber_delta,
        "ss_huber_scale": objective.huber_scale,
    }
