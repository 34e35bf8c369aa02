import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from lorakiln.schema.train import ObjectiveSettings
from lorakiln.train import noise

SCHEDULER = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
T = torch.tensor([0, 1, 250, 500, 998, 999])
A = SCHEDULER.alphas_cumprod[T]


@pytest.fixture
def latents():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 4, 5, 7, generator=generator), torch.randn(6, 4, 5, 7, generator=generator)


def test_noising_is_diffusers(latents):
    x_0, epsilon = latents
    ours = noise.add_noise(x_0, epsilon, A)
    torch.testing.assert_close(ours, SCHEDULER.add_noise(x_0, epsilon, T), rtol=0, atol=1e-6)


def test_targets_are_diffusers(latents):
    x_0, epsilon = latents
    assert noise.target(x_0, epsilon, A, "epsilon") is epsilon
    velocity = noise.target(x_0, epsilon, A, "v_prediction")
    torch.testing.assert_close(velocity, SCHEDULER.get_velocity(x_0, epsilon, T), rtol=0, atol=1e-6)


def test_from_v_and_x_t_both_x_0_and_epsilon_come_back(latents):
    x_0, epsilon = (tensor.double() for tensor in latents)
    alpha_bar = A.double()
    v, x_t = noise.target(x_0, epsilon, alpha_bar, "v_prediction"), noise.add_noise(x_0, epsilon, alpha_bar)
    a, s = alpha_bar.sqrt().view(-1, 1, 1, 1), (1 - alpha_bar).sqrt().view(-1, 1, 1, 1)
    torch.testing.assert_close(a * x_t - s * v, x_0)
    torch.testing.assert_close(s * x_t + a * v, epsilon)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weights(gamma):
    snr = compute_snr(SCHEDULER, T)
    capped = torch.minimum(snr, torch.tensor(gamma))
    torch.testing.assert_close(noise.weight(A, "epsilon", gamma), capped / snr, rtol=1e-5, atol=0)
    torch.testing.assert_close(noise.weight(A, "v_prediction", gamma), capped / (snr + 1), rtol=1e-5, atol=0)


def test_min_snr_is_finite_where_there_is_no_signal():
    assert noise.weight(torch.zeros(1), "epsilon", 5.0).item() == 1.0
    assert noise.weight(torch.zeros(1), "v_prediction", 5.0).item() == 0.0


def test_without_gamma_all_weigh_one():
    assert noise.weight(A, "epsilon", None).tolist() == [1.0] * 6


def test_errors_against_closed_forms():
    d = torch.full((2, 1, 2, 2), 3.0)
    d[1] = 0.001
    mse, huber = ObjectiveSettings(kind="mse"), ObjectiveSettings(kind="huber", huber_delta=4.0)
    torch.testing.assert_close(noise.error(d, torch.zeros_like(d), mse), torch.tensor([9.0, 1e-6]))
    # 2 * 4 * (sqrt(9 + 16) - 4) = 8; and d^2 where d is small.
    loss = noise.error(d.double(), torch.zeros_like(d).double(), huber)
    torch.testing.assert_close(loss, torch.tensor([8.0, 1e-6], dtype=torch.float64), rtol=1e-4, atol=0)


def drawn(step=5, seed=1, batch=64, **objective):
    return noise.draw(seed, step, (batch, 4, 8, 8), ObjectiveSettings(**objective), 1000)


def test_draws_depend_on_seed_and_step_alone():
    first, again = drawn(), drawn()
    assert torch.equal(first.epsilon, again.epsilon)
    assert torch.equal(first.timesteps, again.timesteps)
    for other in (drawn(step=6), drawn(seed=2)):
        assert not torch.equal(first.epsilon, other.epsilon)
        assert not torch.equal(first.timesteps, other.timesteps)


def test_one_setting_leaves_the_other_draws_as_they_were():
    plain, changed = drawn(), drawn(caption_dropout=0.5, noise_offset=0.1, min_timestep=500)
    assert torch.equal(plain.posterior, changed.posterior)
    assert not plain.dropped.any()
    assert 15 < changed.dropped.sum() < 49
    offset = changed.epsilon - plain.epsilon
    # One number for each picture and channel.
    assert (offset.amax((2, 3)) - offset.amin((2, 3))).max() < 1e-6
    assert abs(offset[:, :, 0, 0].std().item() - 0.1) < 0.02


def test_draws_have_the_right_distributions():
    draws = drawn(batch=2000, min_timestep=100)
    assert abs(draws.epsilon.mean().item()) < 0.01
    assert abs(draws.epsilon.std().item() - 1) < 0.01
    assert draws.timesteps.min() >= 100
    assert draws.timesteps.max() < 1000
    assert abs(draws.timesteps.double().mean().item() - 549.5) < 25
    correlation = np.corrcoef(draws.epsilon.flatten().numpy(), draws.posterior.flatten().numpy())[0, 1]
    assert abs(correlation) < 0.01


def test_no_step_repeats_anothers_noise():
    starts = {drawn(step=step, batch=1).epsilon[0, 0, 0, 0].item() for step in range(2000)}
    assert len(starts) > 1995
