"""The loss of denoising training, in one place for training and validation, and what of it a base cannot have."""

import json
from collections.abc import Callable

import torch
from torch import Tensor

from lorakiln.console.errors import UserError
from lorakiln.diffusion.losses import find_loss
from lorakiln.diffusion.process import Process
from lorakiln.schema.objectives import NOISE, ObjectiveSettings

WEIGHTINGS = ("min_snr_gamma", "debiased_estimation", "p2_gamma")  # each has a conf file of its own
Predict = Callable[[Tensor, Tensor], Tensor]  # the network's answer, (B, C, h, w), to x_t at times (B,)


class Loss:
    """weight(t) mean(error(network(x_t, t), target(x_0, epsilon, t))), picture by picture.

    Args:
        process: of the base model; it gives x_t, the target and the weight.
        objective: its kind gives the error.
    """

    def __init__(self, process: Process, objective: ObjectiveSettings) -> None:
        self.process, self.objective, self.kind = process, objective, find_loss(objective.kind)

    def __call__(
        self,
        predict: Predict,
        x_0: Tensor,
        epsilon: Tensor,
        t: Tensor,
        noising: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Each picture's loss, (B,) float32.

        Args:
            x_0, epsilon: (B, C, h, w).
            t: (B,) as the process counts times.
            noising: (B, C, h, w), what the latents are noised by where it is not `epsilon`.
            mask: (B, h, w) in [0, 1], how much of a cell is to be learned; None: all of it.
        """
        noise = epsilon if noising is None else noising
        x_t = self.process.add_noise(x_0, noise, t).contiguous(memory_format=torch.channels_last)
        prediction = predict(x_t, t).float()
        target = self.process.compute_target(x_0, epsilon, t)
        errors = self.kind.compute_errors(prediction, target, self.objective, self.process, t)
        if mask is not None:
            errors = errors * compute_mask_weights(mask, self.objective)
        return self.process.compute_weight(t, self.objective) * errors.mean(dim=(1, 2, 3))


def compute_mask_weights(mask: Tensor, objective: ObjectiveSettings) -> Tensor:
    """What each cell's error weighs, (B, 1, h, w): m + (1 - m) u of a mask m, with u = unmasked_weight.

    With normalize_masked_area a picture's weights are divided by their mean, so that it weighs as much as one without
    a mask; a picture whose weights are all 0 has no loss.

    Args:
        mask: (B, h, w) in [0, 1].
    """
    weights = (mask + (1 - mask) * objective.unmasked_weight)[:, None]
    if objective.normalize_masked_area:
        weights = weights / weights.mean(dim=(1, 2, 3), keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
    return weights


def check_objective(process: Process, objective: ObjectiveSettings) -> None:
    """Refuse, before anything is trained, what a base's noise process cannot have.

    Raises:
        UserError: a setting of another process is set, or a value is beyond this one's range.
    """
    for name in NOISE:
        usual, given = type(objective).model_fields[name].default, getattr(objective, name)
        if name not in process.settings and given != usual:
            value = json.dumps(usual).strip('"')
            raise UserError(
                f"{given} has no meaning here: this base's noise process ({process.name}) has no {name}",
                where=f"train.objective.{name}",
                fix=f"set train.objective.{name}={value}" + ", or train/objective=mse" * (name in WEIGHTINGS),
            )
    process.check(objective)
