"""A kind of noise process that the package does not have: its closed forms, and a training through the registry."""

import csv
import json
import math

import numpy as np
import pytest
import torch

from lorakiln.console.errors import UserError
from lorakiln.diffusion import random_draws
from lorakiln.diffusion.denoising import denoise
from lorakiln.diffusion.loss import Loss, check_objective
from lorakiln.diffusion.processes import PROCESSES, make_process
from lorakiln.diffusion.threshold import compute_threshold
from lorakiln.families import load_family
from lorakiln.sampling import DrawJob, draw
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.objectives import ObjectiveSettings
from lorakiln.schema.objectives.huber import HuberSettings
from lorakiln.schema.objectives.mse import MseSettings
from lorakiln.train import train
from lorakiln.train.validation import compute_validation_loss
from tests.conftest import write_micro_encoded, write_micro_model, write_text
from tests.diffusion import flow

SCHEDULER = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}
PLAIN = ObjectiveSettings()


@pytest.fixture
def kind():
    PROCESSES.add("flow", flow)
    yield
    PROCESSES.remove("flow")


@pytest.fixture
def process(kind):
    found = make_process(SCHEDULER)
    assert type(found) is flow.Flow
    return found


@pytest.fixture
def latents():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 4, 5, 7, generator=generator), torch.randn(3, 4, 5, 7, generator=generator)


def test_without_the_kind_its_schedulers_are_refused():
    with pytest.raises(UserError, match="is of a flow, not of DDPM"):
        make_process(SCHEDULER)


def test_the_target_is_the_way_from_the_latents_to_the_noise(process, latents):
    x_0, epsilon, t = *latents, torch.tensor([0.25, 0.5, 0.75])
    x_t, v = process.add_noise(x_0, epsilon, t), process.compute_target(x_0, epsilon, t)
    torch.testing.assert_close(x_t - t.view(-1, 1, 1, 1) * v, x_0)
    torch.testing.assert_close(x_t + (1 - t).view(-1, 1, 1, 1) * v, epsilon)
    further = process.add_noise(x_0, epsilon, t + 0.125)
    torch.testing.assert_close((further - x_t) / 0.125, v, rtol=0, atol=1e-5)


def test_times_are_logit_normal_and_shifted(process):
    """logit(t') = logit(t) + log k: a shift moves the mean and nothing else."""
    drawn = process.draw_times(np.random.default_rng(0), 40_000, PLAIN)
    logits = drawn.double().logit()
    assert logits.mean().item() == pytest.approx(math.log(3), abs=0.02)
    assert logits.std().item() == pytest.approx(1, abs=0.02)
    spread = process.spread_times(np.full(1001, 0.5), PLAIN).double()
    assert spread[500].item() == pytest.approx(3 / 4)  # the median: t = 1/2, shifted
    assert torch.quantile(drawn.double(), 0.9).item() == pytest.approx(spread[900].item(), abs=0.01)
    assert (spread.diff() > 0).all()


def test_draws_of_the_same_step_differ_from_ddpms_in_their_times_alone(process):
    draws = random_draws.make_draws(1, 5, (64, 4, 8, 8), PLAIN, process)
    others = random_draws.make_draws(1, 5, (64, 4, 8, 8), PLAIN, make_process({}))
    assert torch.equal(draws.epsilon, others.epsilon) and torch.equal(draws.posterior, others.posterior)
    assert draws.times.dtype == torch.float32 and draws.times.min() > 0 and draws.times.max() < 1


def test_an_exact_answer_is_followed_to_the_picture(process, latents):
    x_0, epsilon = latents[0][:1], latents[1][:1]

    def answer(x_t, t, conditioning):
        return (x_t - x_0) / t.view(-1, 1, 1, 1)

    for steps in (1, 7):
        found = denoise(process.make_sampler(steps), answer, epsilon, {}, None, 1.0)
        torch.testing.assert_close(found, x_0, rtol=0, atol=1e-5)
    found = denoise(process.make_sampler(8), answer, epsilon, {}, None, 1.0, start=latents[0][1:2], strength=0.5)
    torch.testing.assert_close(found, x_0, rtol=0, atol=1e-5)


def test_the_way_back_of_gaussian_latents(process):
    """Of x_0 ~ N(0, s^2) the best answer is x_t (t - (1 - t) s^2) / ((1 - t)^2 s^2 + t^2), and noise ends at s times
    itself; Euler's error halves with its steps."""
    s, epsilon = 0.5, torch.tensor([1.0, -2.0]).view(2, 1, 1, 1)

    def answer(x_t, t, conditioning):
        t = t.view(-1, 1, 1, 1)
        return x_t * (t - (1 - t) * s**2) / ((1 - t) ** 2 * s**2 + t**2)

    def error(steps):
        return (denoise(process.make_sampler(steps), answer, epsilon, {}, None, 1.0) - s * epsilon).abs().max().item()

    assert error(400) < 0.01
    assert error(100) / error(200) == pytest.approx(2, rel=0.05)


def test_the_loss_is_the_processes(process, latents):
    x_0, epsilon, t = *latents, torch.tensor([0.25, 0.5, 0.75])
    losses = Loss(process, MseSettings())
    assert losses(lambda x_t, t: epsilon - x_0 + 2, x_0, epsilon, t).tolist() == pytest.approx([4, 4, 4])
    told = []
    losses(lambda x_t, t: told.append((x_t, t)) or x_t, x_0, epsilon, t)
    torch.testing.assert_close(told[0][0], process.add_noise(x_0, epsilon, t))
    assert torch.equal(told[0][1], t)


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("min_snr_gamma", 5.0, "train.objective.min_snr_gamma=null, or train/objective=mse"),
        ("noise_offset", 0.1, "train.objective.noise_offset=0.0"),
        ("debiased_estimation", True, "train.objective.debiased_estimation=false, or train/objective=mse"),
        ("p2_gamma", 1.0, "train.objective.p2_gamma=null, or train/objective=mse"),
        ("v_pred_like_loss", 0.1, "train.objective.v_pred_like_loss=0.0"),
        ("scale_v_pred_loss_like_noise_pred", True, "train.objective.scale_v_pred_loss_like_noise_pred=false"),
        ("multires_noise_iterations", 6, "train.objective.multires_noise_iterations=0"),
        ("ip_noise_gamma", 0.1, "train.objective.ip_noise_gamma=0.0"),
        ("zero_terminal_snr", True, "train.objective.zero_terminal_snr=false"),
        ("timestep_density", "cubic", "train.objective.timestep_density=uniform"),
        ("min_timestep", 300, "train.objective.min_timestep=0"),
        ("max_timestep", 700, "train.objective.max_timestep=null"),
    ],
)
def test_what_a_process_has_not_is_refused_by_name(process, name, value, fix):
    with pytest.raises(UserError) as caught:
        check_objective(process, MseSettings(**{name: value}))
    assert str(caught.value) == (
        f"train.objective.{name}: {value} has no meaning here: this base's noise process (rectified flow) has no "
        f"{name}\n  fix: set {fix}"
    )
    check_objective(process, MseSettings(huber_delta=0.5, caption_dropout=0.1))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The micro model as a flow, and its encoded pictures."""
    PROCESSES.add("flow", flow)
    try:
        folder = tmp_path_factory.mktemp("flow")
        write_micro_model(folder / "sd")
        write_text(folder / "sd/scheduler/scheduler_config.json", SCHEDULER)
        model = ModelSettings(
            family="sd",
            path=str(folder / "sd"),
            resolution=32,
            bucket_min=16,
            bucket_max=64,
            bucket_step=16,
            captioner={"path": "models/tiny/blip"},
            clip={"path": "models/tiny/clip"},
        )
        write_micro_encoded(folder / "encoded", model, load_family(model))
        return model, folder / "encoded"
    finally:
        PROCESSES.remove("flow")


def run(base, settings, folder):
    train(base[1], folder / "out", settings, base[0], folder / "cache" / "checkpoints")
    return folder / "out"


def test_a_flow_is_trained_validated_and_drawn(kind, base, make_settings, tmp_path, capsys, monkeypatch):
    """Training, validation and drawing ask the one process: each takes what it gives, and no other formula."""
    asked = {name: [] for name in ("draw_times", "spread_times", "compute_target", "make_sampler")}
    for name, calls in asked.items():
        real = getattr(flow.Flow, name)
        monkeypatch.setattr(flow.Flow, name, lambda *a, real=real, calls=calls: (calls.append(a), real(*a))[1])
    watched = {"every": 6, "fraction": 0.3, "draws": 4}
    out = run(base, make_settings(steps=30, validation=watched, samples={"every": 15, "steps": 3}), tmp_path)
    assert len(asked["draw_times"]) == 30 and asked["spread_times"] and asked["make_sampler"]
    measured = len(asked["compute_target"]) - 30
    assert measured and measured == len(asked["spread_times"])  # a picture's four draws at once
    with (out / "validation.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < 0.985 * losses[0], losses
    facts = json.loads((out / "facts.json").read_text())
    assert "timesteps" not in facts
    assert len(list((out / "samples").rglob("*.png"))) > 0
    assert "noise       rectified flow, shift 3" in capsys.readouterr().out


def test_thresholds_follow_a_flows_noise_too(process):
    t = torch.tensor([0.25, 0.5, 0.75])
    found = compute_threshold(process, t, HuberSettings(huber_schedule="snr")).flatten()
    torch.testing.assert_close(found, 0.9 * (1 - t) ** 2 + 0.1)  # 1 / (1 + sigma) is the picture's share
    found = compute_threshold(process, t, HuberSettings(huber_schedule="exponential")).flatten()
    torch.testing.assert_close(found, 0.1**t)


def test_its_losses_are_those_of_a_plain_implementation(kind, base, make_module, make_settings):
    module = make_module(model=base[0], encoded=base[1], validation={"every": 5, "fraction": 0.3, "draws": 4})
    samples = module.schedule(0)
    draws, bucket = module.make_draws(0, samples), module.encoded.buckets[samples.bucket]
    errors = []
    for i, (picture, variant) in enumerate(zip(samples.pictures, samples.variants, strict=True)):
        row, t = module.trained[samples.bucket][picture], draws.times[i]
        x_0 = bucket.mean[row, variant] + bucket.std[row, variant] * draws.posterior[i]
        told = bucket.conditioning["prompt_embeds"][row][None]
        predicted = module.network(((1 - t) * x_0 + t * draws.epsilon[i])[None], t[None], told).sample[0]
        errors.append((predicted - (draws.epsilon[i] - x_0)).square().mean().item())
    assert module.loss(samples, draws, slice(0, 4)).item() == pytest.approx(np.mean(errors), rel=1e-5)

    bucket, row = module.encoded.buckets[0], 2
    rng = random_draws.make_generator(int(bucket.rows[row].sha256[:16], 16), random_draws.VALIDATION, 0)
    times = module.family.process.spread_times(rng.random(4), PLAIN)
    epsilon = torch.from_numpy(rng.standard_normal((4, 4, 8, 8), dtype=np.float32))
    errors = []
    for t, e in zip(times, epsilon, strict=True):
        x_0, told = bucket.mean[row, 0], bucket.conditioning["prompt_embeds"][row][None]
        with torch.no_grad():
            predicted = module.network(((1 - t) * x_0 + t * e)[None], t[None], told).sample[0]
        errors.append((predicted - (e - x_0)).square().mean().item())
    assert compute_validation_loss(module, [[row], []]) == pytest.approx(np.mean(errors), rel=1e-5)


def test_its_pictures_are_those_of_a_plain_implementation(kind, base):
    family, job = load_family(base[0]), DrawJob("a red cat", 1, 32, 32)
    (picture,) = draw(family, [job], 3, 1.0, batch_size=1)
    told = family.encode_prompts([job.prompt])["prompt_embeds"]
    x = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(1))[None]
    times = [3 * t / (1 + 2 * t) for t in (1, 2 / 3, 1 / 3)] + [0.0]
    with torch.no_grad():
        for t, after in zip(times, times[1:], strict=False):
            x = x + (after - t) * family.network(x, torch.tensor([t]), told).sample
    pixels = (family.decode_latents(x)[0] / 2 + 0.5).clamp(0, 1) * 255
    assert np.abs(np.asarray(picture) - pixels.permute(1, 2, 0).numpy()).max() <= 0.51  # rounding


def test_min_snr_on_a_flow_is_refused_before_the_training(kind, base, make_settings, tmp_path):
    with pytest.raises(UserError, match=r"train\.objective\.min_snr_gamma: 5\.0 has no meaning here"):
        run(base, make_settings(objective={"min_snr_gamma": 5.0}), tmp_path)
    assert not (tmp_path / "out").exists() and not (tmp_path / "cache").exists()
