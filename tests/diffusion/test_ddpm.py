"""DDPM, against diffusers and closed forms."""

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from diffusers.training_utils import compute_snr

from lorakiln.console.errors import UserError
from lorakiln.diffusion.denoising import denoise
from lorakiln.diffusion.loss import check_objective
from lorakiln.diffusion.processes import make_process
from lorakiln.schema.objectives import ObjectiveSettings

CONFIG = {"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SCHEDULER = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
T = torch.tensor([0, 1, 250, 500, 998, 999])
PLAIN = ObjectiveSettings()


def process(prediction="epsilon", **config):
    return make_process({**CONFIG, "prediction_type": prediction, **config})


@pytest.fixture
def latents():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(6, 4, 5, 7, generator=generator), torch.randn(6, 4, 5, 7, generator=generator)


def test_noising_is_diffusers(latents):
    x_0, epsilon = latents
    ours = process().add_noise(x_0, epsilon, T)
    torch.testing.assert_close(ours, SCHEDULER.add_noise(x_0, epsilon, T), rtol=0, atol=1e-6)


def test_targets_are_diffusers(latents):
    x_0, epsilon = latents
    assert process().compute_target(x_0, epsilon, T) is epsilon
    velocity = process("v_prediction").compute_target(x_0, epsilon, T)
    torch.testing.assert_close(velocity, SCHEDULER.get_velocity(x_0, epsilon, T), rtol=0, atol=1e-6)


def test_from_v_and_x_t_both_x_0_and_epsilon_come_back(latents):
    x_0, epsilon = (tensor.double() for tensor in latents)
    velocities = process("v_prediction")
    v, x_t = velocities.compute_target(x_0, epsilon, T), velocities.add_noise(x_0, epsilon, T)
    alpha_bar = velocities.alphas_cumprod[T].double().view(-1, 1, 1, 1)
    a, s = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    torch.testing.assert_close(a * x_t - s * v, x_0, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(s * x_t + a * v, epsilon, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("gamma", [1.0, 5.0])
def test_min_snr_weights(gamma):
    snr, objective = compute_snr(SCHEDULER, T), ObjectiveSettings(min_snr_gamma=gamma)
    capped = torch.minimum(snr, torch.tensor(gamma))
    torch.testing.assert_close(process().compute_weight(T, objective), capped / snr, rtol=1e-5, atol=0)
    velocities = process("v_prediction")
    torch.testing.assert_close(velocities.compute_weight(T, objective), capped / (snr + 1), rtol=1e-5, atol=0)


def test_min_snr_is_finite_where_there_is_no_signal():
    objective, last = ObjectiveSettings(min_snr_gamma=5.0), torch.tensor([999])
    for prediction, weight in (("epsilon", 1.0), ("v_prediction", 0.0)):
        silent = process(prediction, rescale_betas_zero_snr=True)
        assert silent.alphas_cumprod[-1] < 1e-6
        assert silent.compute_weight(last, objective).item() == pytest.approx(weight, abs=1e-6)


def test_without_gamma_all_weigh_one():
    assert process().compute_weight(T, PLAIN).tolist() == [1.0] * 6


@pytest.mark.parametrize(("low", "high", "end"), [(0, None, 1000), (100, 700, 700), (900, 5000, 1000)])
def test_times_are_integers_of_the_range(low, high, end):
    objective = ObjectiveSettings(min_timestep=low, max_timestep=high)
    drawn = process().draw_times(np.random.default_rng(0), 20_000, objective)
    assert drawn.dtype == torch.int64 and sorted(drawn.unique().tolist()) == list(range(low, end))
    spread = process().spread_times(np.random.default_rng(0).random(10), objective)
    part = (end - low) // 10
    assert spread.dtype == torch.int64 and [(t - low) // part for t in spread.tolist()] == list(range(10))
    assert process().spread_times(np.full(10, 1 - 1e-12), objective).max() == end - 1
    assert process().state_facts(objective) == {"timesteps": (low, end, 1000)}


def test_a_schedule_is_rescaled_to_zero_terminal_snr_as_diffusers_does():
    base = process("v_prediction", timestep_spacing="leading")
    rescaled = base.rescale_to_zero_snr()
    expected = torch.cumprod(1 - rescale_zero_terminal_snr(SCHEDULER.betas), dim=0)
    torch.testing.assert_close(rescaled.alphas_cumprod, expected, rtol=1e-5, atol=1e-7)
    # Algorithm 1 of the paper: the first as it was, the last nothing, all between in proportion.
    before, after = base.alphas_cumprod.sqrt(), rescaled.alphas_cumprod.sqrt()
    assert after[0].item() == pytest.approx(before[0].item(), rel=1e-6) and after[-1].item() == 0
    torch.testing.assert_close(after, (before - before[-1]) * before[0] / (before[0] - before[-1]), rtol=0, atol=1e-5)
    assert rescaled.rescale_to_zero_snr() is rescaled
    assert base.alphas_cumprod[-1] > 0 and not base.ends_without_signal and rescaled.ends_without_signal
    assert rescaled.state_facts(PLAIN)["zero_terminal_snr"] and "zero_terminal_snr" not in base.state_facts(PLAIN)
    with pytest.raises(UserError, match="this base predicts epsilon"):
        process().rescale_to_zero_snr()


def test_a_rescaled_schedule_is_drawn_from_its_end(latents):
    """The last timestep first (trailing spacing), where v alone says what the picture is."""
    rescaled = process("v_prediction", set_alpha_to_one=True).rescale_to_zero_snr()
    sampler = rescaled.make_sampler(4)
    assert sampler.times.tolist() == [999, 749, 499, 249]
    assert rescaled.make_scheduler().alphas_cumprod[-1] == 0
    x_0, epsilon = latents[0][:1], latents[1][:1]

    def answer(x_t, t, conditioning):
        alpha_bar = rescaled.alphas_cumprod[t].view(-1, 1, 1, 1)
        noise = (x_t - alpha_bar.sqrt() * x_0) / (1 - alpha_bar).sqrt()
        return rescaled.compute_target(x_0.expand_as(x_t), noise, t)

    torch.testing.assert_close(denoise(sampler, answer, epsilon, {}, None, 1.0), x_0, rtol=0, atol=2e-3)


def test_quarters_are_those_of_the_timesteps():
    for count in (1000, 777):
        t = torch.arange(count)
        places = process(num_train_timesteps=count).locate(t)
        assert torch.equal((places * 4).long(), t * 4 // count)


def test_an_exact_answer_is_followed_to_the_picture(latents):
    """DDIM keeps to x_t = a x_0 + s epsilon when the network answers epsilon, or v, of one picture."""
    x_0, epsilon = latents[0][:1], latents[1][:1]
    for prediction in ("epsilon", "v_prediction"):
        # set_alpha_to_one: the last step ends at no noise at all.
        base = process(prediction, set_alpha_to_one=True, rescale_betas_zero_snr=prediction == "v_prediction")

        def answer(x_t, t, conditioning, base=base):
            alpha_bar = base.alphas_cumprod[t].view(-1, 1, 1, 1)
            noise = (x_t - alpha_bar.sqrt() * x_0) / (1 - alpha_bar).sqrt()
            return base.compute_target(x_0.expand_as(x_t), noise, t)

        found = denoise(base.make_sampler(7), answer, epsilon, {}, None, 1.0)
        torch.testing.assert_close(found, x_0, rtol=0, atol=2e-3)
        # From a picture, half of the way; whatever picture that was.
        found = denoise(base.make_sampler(8), answer, epsilon, {}, None, 1.0, start=latents[0][1:2], strength=0.5)
        torch.testing.assert_close(found, x_0, rtol=0, atol=2e-3)


def test_guidance_is_away_from_the_empty_prompts_answer():
    asked = []

    class Once:
        times = torch.tensor([3])

        def begin(self, epsilon, x_0=None, at=0):
            return epsilon

        def step(self, prediction, at, x_t):
            return prediction

    def answer(x_t, t, conditioning):
        asked.append(conditioning["text"].tolist())
        return conditioning["text"].view(-1, 1, 1, 1).expand_as(x_t)

    positive, negative = {"text": torch.tensor([3.0, 5.0])}, {"text": torch.tensor([1.0])}
    noise = torch.zeros(2, 1, 1, 1)
    found = denoise(Once(), answer, noise, positive, negative, 4.0)
    assert found.flatten().tolist() == [1 + 4 * 2, 1 + 4 * 4] and asked == [[1, 1, 3, 5]]
    assert denoise(Once(), answer, noise, positive, None, 4.0).flatten().tolist() == [3, 5]


def test_more_steps_than_there_are_timesteps_are_refused():
    assert len(process().make_sampler(1000).times) == 1000
    with pytest.raises(UserError, match="evaluate.steps: 1001 steps are more than the model's noise schedule has"):
        process().make_sampler(1001, "evaluate.steps")
    with pytest.raises(UserError, match="1000 steps are more"):
        process(steps_offset=1).make_sampler(1000)


def test_a_range_with_no_timestep_is_refused():
    for low, high in ((500, 500), (1000, None), (1200, 1500)):
        with pytest.raises(UserError, match="train.objective: no timestep is left.*\n  fix: .* timesteps 0 to 999"):
            check_objective(process(), ObjectiveSettings(min_timestep=low, max_timestep=high))
    all_of_it = ObjectiveSettings(min_snr_gamma=5.0, noise_offset=0.1, min_timestep=999, max_timestep=5000)
    check_objective(process(), all_of_it)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0},
            "here: its scheduler, FlowMatch.* is of a flow",
        ),
        ({**CONFIG, "prediction_type": "sample"}, "here: a model that predicts 'sample' cannot be trained"),
        ({"trained_betas": [0.5, 1.5]}, "here: its noise schedule .* leaves the range from 0 to 1"),
    ],
)
def test_a_schedule_that_is_no_ddpms_is_refused(config, message):
    with pytest.raises(UserError, match=message):
        make_process(config, "here")
