"""The absolute error: |d|, with d = prediction - target."""

from typing import Any

from torch import Tensor

from lorakiln.diffusion.process import Process
from lorakiln.schema.objectives import ObjectiveSettings


def compute_errors(
    prediction: Tensor, target: Tensor, objective: ObjectiveSettings, process: Process, t: Tensor
) -> Tensor:
    return (prediction - target).abs()


def make_kohya_metadata(objective: ObjectiveSettings) -> dict[str, Any]:
    return {"ss_loss_type": "l1"}
