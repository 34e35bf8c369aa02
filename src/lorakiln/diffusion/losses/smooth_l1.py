"""Smooth L1: 2 (sqrt(d^2 + delta^2) - delta), with d = prediction - target and delta as `threshold` has it.

As in diffusers' and kohya's scripts, and not torch's of that name: it goes like 2 |d| where d is large and like d^2 /
delta where it is small, with no kink between.
"""

from typing import Any

from torch import Tensor

from lorakiln.diffusion.losses.huber import make_threshold_metadata
from lorakiln.diffusion.process import Process
from lorakiln.diffusion.threshold import compute_threshold
from lorakiln.schema.objectives import ObjectiveSettings


def compute_errors(
    prediction: Tensor, target: Tensor, objective: ObjectiveSettings, process: Process, t: Tensor
) -> Tensor:
    d, delta = prediction - target, compute_threshold(process, t, objective)
    return 2 * ((d.square() + delta**2).sqrt() - delta)


def make_kohya_metadata(objective: ObjectiveSettings) -> dict[str, Any]:
    return {"ss_loss_type": "smooth_l1", **make_threshold_metadata(objective)}
