"""How much the loss at a timestep weighs, by its signal-to-noise ratio: SNR = alpha_bar_t / (1 - alpha_bar_t).

Each weighting is for what the network predicts: the same picture's error, written as one of v, is (SNR + 1) / SNR times
that of epsilon (arXiv 2202.00512, section 4).

    min_snr_gamma g        epsilon: min(SNR, g) / SNR    v: min(SNR, g) / (SNR + 1)    (arXiv 2303.09556, section 3.4)
    debiased_estimation    epsilon: 1 / sqrt(S)          v: 1 / (S + 1)                (arXiv 2310.08442; sd-scripts)
    p2_gamma g, p2_k k     1 / (k + SNR)^g, on the loss of what is predicted           (arXiv 2204.00227, eq. 8)

and, beside these, what makes one prediction's loss like the other's, as in sd-scripts:

    v_pred_like_loss w     epsilon: 1 + w (S + 1) / S, the error of epsilon and w times that of v
    scale_v_pred_loss_like_noise_pred                    v: S / (S + 1), the error of epsilon

S is min(SNR, 1000), sd-scripts' bound.
"""

import torch
from torch import Tensor

from lorakiln.console.errors import UserError
from lorakiln.diffusion.process import Objective

EPSILON, V = "epsilon", "v_prediction"
BOUND = 1000.0  # of S


def compute_weight(alpha_bar: Tensor, prediction: str, objective: Objective) -> Tensor:
    """The weight of each picture's loss, (B,) float32; 1 where the objective says nothing of weights.

    Args:
        alpha_bar: (B,) in [0, 1), of the pictures' timesteps.
        prediction: what the network predicts, EPSILON or V.
    """
    weight = _compute_weighting(alpha_bar, prediction == V, objective)
    if not (objective.v_pred_like_loss or objective.scale_v_pred_loss_like_noise_pred):
        return weight
    snr = compute_snr(alpha_bar).clamp(max=BOUND)
    like_epsilon = snr / (snr + 1)
    if objective.scale_v_pred_loss_like_noise_pred:
        return weight * like_epsilon
    like_v: Tensor = 1 + objective.v_pred_like_loss / like_epsilon
    return weight * like_v


def compute_snr(alpha_bar: Tensor) -> Tensor:
    return alpha_bar / (1 - alpha_bar)


def _compute_weighting(alpha_bar: Tensor, predicts_v: bool, objective: Objective) -> Tensor:
    snr, gamma = compute_snr(alpha_bar), objective.min_snr_gamma
    if gamma is not None:
        if predicts_v:
            return snr.clamp(max=gamma) / (snr + 1)
        bounded: Tensor = gamma / snr
        return bounded.clamp(max=1.0)  # the same, and finite at SNR = 0
    if objective.debiased_estimation:
        snr = snr.clamp(max=BOUND)
        return 1 / (snr + 1) if predicts_v else snr.rsqrt()
    if objective.p2_gamma is not None:
        weight: Tensor = (objective.p2_k + snr) ** -objective.p2_gamma
        return weight
    return torch.ones_like(alpha_bar)


def check_weight(alpha_bar: Tensor, prediction: str, objective: Objective) -> None:
    """Refuse weights that this prediction, or one of its timesteps, cannot have.

    Args:
        alpha_bar: (N,), of all timesteps that are trained on.

    Raises:
        UserError: a setting is one for the other prediction, or a weight is not finite.
    """
    for name, needed, value in (("v_pred_like_loss", EPSILON, 0), ("scale_v_pred_loss_like_noise_pred", V, "false")):
        if getattr(objective, name) and prediction != needed:
            raise UserError(
                f"it is for networks that predict {needed}; this base predicts {prediction}",
                where=f"train.objective.{name}",
                fix=f"set train.objective.{name}={value}",
            )
    if not bool(compute_weight(alpha_bar, prediction, objective).isfinite().all()):
        # The last timestep of such a schedule is noise alone.
        raise UserError(
            "a timestep's weight is not finite: this base's noise schedule ends without signal",
            where="train.objective",
            fix="take another weighting (min_snr_gamma, p2_gamma), or leave the last timestep out by max_timestep",
        )
