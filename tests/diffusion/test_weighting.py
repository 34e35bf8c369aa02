"""The loss weights, against closed forms, and against what the errors of one prediction are as those of the other."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from lorakiln.console.errors import UserError
from lorakiln.diffusion.loss import check_objective
from lorakiln.diffusion.processes import make_process
from lorakiln.schema.objectives import ObjectiveSettings

CONFIG = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
T = torch.tensor([0, 1, 50, 250, 500, 998, 999])
ALPHA_BAR = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)[T.numpy()]
SNR = ALPHA_BAR / (1 - ALPHA_BAR)
S = np.minimum(SNR, 1000)


def process(prediction="epsilon", **config):
    return make_process({**CONFIG, "prediction_type": prediction, **config})


@pytest.mark.parametrize(
    ("prediction", "objective", "expected"),
    [
        ("epsilon", {}, np.ones(7)),
        ("epsilon", {"min_snr_gamma": 5.0}, np.minimum(SNR, 5) / SNR),
        ("v_prediction", {"min_snr_gamma": 5.0}, np.minimum(SNR, 5) / (SNR + 1)),
        ("epsilon", {"debiased_estimation": True}, S**-0.5),
        ("v_prediction", {"debiased_estimation": True}, 1 / (S + 1)),
        ("epsilon", {"p2_gamma": 1.0}, 1 - ALPHA_BAR),  # with k = 1
        ("v_prediction", {"p2_gamma": 0.5, "p2_k": 3.0}, (3 + SNR) ** -0.5),
        ("epsilon", {"v_pred_like_loss": 0.1}, 1 + 0.1 * (S + 1) / S),
        ("epsilon", {"v_pred_like_loss": 0.1, "min_snr_gamma": 5.0}, (1.1 + 0.1 / S) * np.minimum(SNR, 5) / SNR),
        ("v_prediction", {"scale_v_pred_loss_like_noise_pred": True}, S / (S + 1)),
        ("v_prediction", {"scale_v_pred_loss_like_noise_pred": True, "p2_gamma": 1.0}, S / (S + 1) * (1 - ALPHA_BAR)),
    ],
)
def test_weights_are_those_of_the_closed_forms(prediction, objective, expected):
    found = process(prediction).compute_weight(T, ObjectiveSettings(**objective))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-4)
    check_objective(process(prediction), ObjectiveSettings(**objective))


def test_at_a_bounded_ratio_the_bound_counts():
    assert SNR[0] > 1000 > SNR[2]
    debiased = process().compute_weight(T[:1], ObjectiveSettings(debiased_estimation=True))
    assert debiased.item() == pytest.approx(1000**-0.5)


def test_an_error_of_v_weighs_as_that_of_epsilon():
    """From one guess of the picture both errors follow: of epsilon, (a / s)^2 that of x_0, and of v, 1 / s^2."""
    velocities, noise, t = process("v_prediction"), process(), T[2:]
    generator = torch.Generator().manual_seed(0)
    x_0, guess, epsilon = (torch.randn(len(t), 4, 5, 7, generator=generator) for _ in range(3))
    x_t, alpha_bar = noise.add_noise(x_0, epsilon, t), noise.alphas_cumprod[t].view(-1, 1, 1, 1)
    guessed = (x_t - alpha_bar.sqrt() * guess) / (1 - alpha_bar).sqrt()

    def errors(base):
        difference = base.compute_target(guess, guessed, t) - base.compute_target(x_0, epsilon, t)
        return difference.square().mean(dim=(1, 2, 3))

    scaled = velocities.compute_weight(t, ObjectiveSettings(scale_v_pred_loss_like_noise_pred=True))
    torch.testing.assert_close(scaled * errors(velocities), errors(noise), rtol=1e-4, atol=0)
    both = noise.compute_weight(t, ObjectiveSettings(v_pred_like_loss=0.3))
    torch.testing.assert_close(both * errors(noise), errors(noise) + 0.3 * errors(velocities), rtol=1e-4, atol=0)
    # Min-SNR is the same objective whatever is predicted.
    gamma = ObjectiveSettings(min_snr_gamma=5.0)
    weighed = [base.compute_weight(t, gamma) * errors(base) for base in (velocities, noise)]
    torch.testing.assert_close(*weighed, rtol=1e-4, atol=0)


@pytest.mark.parametrize(
    ("base", "objective", "message"),
    [
        (
            {"prediction": "v_prediction"},
            {"v_pred_like_loss": 0.1},
            r"v_pred_like_loss: .* epsilon; this .* v_pred.*=0",
        ),
        ({}, {"scale_v_pred_loss_like_noise_pred": True}, r"noise_pred: it is .* v_prediction; this .*epsilon.*=false"),
        ({}, {"zero_terminal_snr": True}, r"zero_terminal_snr: this base predicts epsilon.*zero_terminal_snr=false"),
        ({"rescale_betas_zero_snr": True}, {"debiased_estimation": True}, "is not finite.*max_timestep"),
        ({"rescale_betas_zero_snr": True}, {"v_pred_like_loss": 1.0}, "is not finite.*max_timestep"),
    ],
)
def test_weights_that_a_base_cannot_have_are_refused(base, objective, message):
    with pytest.raises(UserError, match=f"(?s)train.objective.*{message}"):
        check_objective(process(**base), ObjectiveSettings(**objective))


def test_without_the_last_timestep_they_can_be_had():
    base = process(rescale_betas_zero_snr=True)
    check_objective(base, ObjectiveSettings(debiased_estimation=True, max_timestep=999))


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"min_snr_gamma": 5.0, "p2_gamma": 1.0}, "min_snr_gamma and p2_gamma: each is a weighting of its own"),
        ({"debiased_estimation": True, "p2_gamma": 1.0}, "debiased_estimation and p2_gamma"),
        ({"scale_v_pred_loss_like_noise_pred": True, "min_snr_gamma": 5.0}, "no meaning with min_snr_gamma"),
        ({"scale_v_pred_loss_like_noise_pred": True, "debiased_estimation": True}, "no meaning with debiased"),
        ({"p2_k": 2.0}, "p2_k 2.0 has no meaning without p2_gamma"),
        ({"noise_offset_random": True}, "without a noise_offset above 0"),
        ({"multires_noise_discount": 0.5}, "without multires_noise_iterations above 0"),
        ({"ip_noise_gamma_random": True}, "without an ip_noise_gamma above 0"),
        ({"logit_mean": 1.0}, "without timestep_density=logit_normal"),
        ({"logit_std": 2.0, "timestep_density": "cubic"}, "without timestep_density=logit_normal"),
        ({"normalize_masked_area": True}, "without an unmasked_weight below 1"),
        ({"huber_schedule": "snr"}, "without a loss that has a threshold, huber or smooth_l1"),
        ({"huber_scale": 2.0}, "without a loss that has a threshold"),
    ],
)
def test_settings_that_mean_nothing_together_are_refused(objective, message):
    with pytest.raises(ValidationError, match=message):
        ObjectiveSettings(**objective)
