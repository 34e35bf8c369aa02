"""The loss of denoising training, in one place for training and validation, and what of it a base cannot have."""

from collections.abc import Callable

import torch
from torch import Tensor

from lorakiln.console.errors import UserError
from lorakiln.diffusion.losses import find_loss
from lorakiln.diffusion.process import Process
from lorakiln.schema.objectives import NOISE, ObjectiveSettings

Predict = Callable[[Tensor, Tensor], Tensor]  # the network's answer, (B, C, h, w), to x_t at times (B,)


class Loss:
    """weight(t) error(network(x_t, t), target(x_0, epsilon, t)), picture by picture.

    Args:
        process: of the base model; it gives x_t, the target and the weight.
        objective: its kind gives the error.
    """

    def __init__(self, process: Process, objective: ObjectiveSettings) -> None:
        self.process, self.objective, self.kind = process, objective, find_loss(objective.kind)

    def __call__(self, predict: Predict, x_0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """Each picture's loss, (B,) float32.

        Args:
            x_0, epsilon: (B, C, h, w).
            t: (B,) as the process counts times.
        """
        x_t = self.process.add_noise(x_0, epsilon, t).contiguous(memory_format=torch.channels_last)
        prediction = predict(x_t, t).float()
        target = self.process.compute_target(x_0, epsilon, t)
        errors = self.kind.compute_errors(prediction, target, self.objective)
        return self.process.compute_weight(t, self.objective) * errors


def check_objective(process: Process, objective: ObjectiveSettings) -> None:
    """Refuse, before anything is trained, what a base's noise process cannot have.

    Raises:
        UserError: a setting of another process is set, or a value is beyond this one's range.
    """
    for name in NOISE:
        usual, given = type(objective).model_fields[name].default, getattr(objective, name)
        if name not in process.settings and given != usual:
            value = "null" if usual is None else usual
            raise UserError(
                f"{given} has no meaning here: this base's noise process ({process.name}) has no {name}",
                where=f"train.objective.{name}",
                fix=f"set train.objective.{name}={value}" + ", or train/objective=mse" * (name == "min_snr_gamma"),
            )
    process.check(objective)
