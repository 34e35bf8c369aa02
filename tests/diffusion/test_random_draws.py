"""The draws: a function of (seed, step) alone."""

import hashlib
import math
from statistics import NormalDist

import numpy as np
import pytest
import torch

from lorakiln.diffusion import random_draws
from lorakiln.diffusion.processes import make_process
from lorakiln.schema.objectives import ObjectiveSettings

PROCESS = make_process({"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"})


def drawn(step=5, seed=1, batch=64, **objective):
    return random_draws.make_draws(seed, step, (batch, 4, 8, 8), ObjectiveSettings(**objective), PROCESS)


def test_draws_depend_on_seed_and_step_alone():
    first, again = drawn(), drawn()
    assert torch.equal(first.epsilon, again.epsilon)
    assert torch.equal(first.times, again.times)
    for other in (drawn(step=6), drawn(seed=2)):
        assert not torch.equal(first.epsilon, other.epsilon)
        assert not torch.equal(first.times, other.times)


def test_draws_are_what_they_have_always_been():
    """To the bit: of runs that are to be made again, nothing else keeps them."""
    draws = drawn(noise_offset=0.1, caption_dropout=0.5, min_timestep=100, max_timestep=900)
    assert draws.times.dtype == torch.int64
    digests = [
        hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:16]
        for tensor in (draws.posterior, draws.epsilon, draws.times, draws.dropped)
    ]
    assert digests == ["69dbb35537f3b344", "4e77a81e2eae8fbb", "77727a03a89ed7d1", "f29d11493ff8c4f2"]


def test_one_setting_leaves_the_other_draws_as_they_were():
    plain, changed = drawn(), drawn(caption_dropout=0.5, noise_offset=0.1, min_timestep=500)
    assert torch.equal(plain.posterior, changed.posterior)
    assert not plain.dropped.any()
    assert 15 < changed.dropped.sum() < 49
    offset = changed.epsilon - plain.epsilon
    # One number for each picture and channel.
    assert (offset.amax((2, 3)) - offset.amin((2, 3))).max() < 1e-6
    assert abs(offset[:, :, 0, 0].std().item() - 0.1) < 0.02


OPTIONS = [
    {"noise_offset": 0.1},
    {"noise_offset": 0.1, "noise_offset_random": True},
    {"multires_noise_iterations": 6},
    {"ip_noise_gamma": 0.1},
    {"ip_noise_gamma": 0.1, "ip_noise_gamma_random": True},
    {"timestep_density": "logit_normal"},
    {"timestep_density": "cubic"},
    {"caption_dropout": 0.5},
]
CHANGED = {"noise_offset": {"epsilon", "noising"}, "multires_noise_iterations": {"epsilon", "noising"}}
CHANGED |= {"ip_noise_gamma": {"noising"}, "timestep_density": {"times"}, "caption_dropout": {"dropped"}}


@pytest.mark.parametrize("option", OPTIONS, ids="-".join)
def test_an_option_changes_what_it_is_for_and_follows_from_seed_and_step(option):
    plain, first, again, other = drawn(), drawn(**option), drawn(**option), drawn(step=6, **option)
    changed = CHANGED[next(iter(option))]
    for name in ("posterior", "epsilon", "times", "dropped", "noising"):
        assert torch.equal(getattr(first, name), getattr(again, name))
        assert torch.equal(getattr(first, name), getattr(plain, name)) == (name not in changed), name
        assert not torch.equal(getattr(first, name), getattr(other, name)) or name == "dropped"
    assert (first.noising is first.epsilon) == ("ip_noise_gamma" not in option)


def test_a_random_offset_is_a_part_of_the_fixed_one():
    plain, fixed, random = drawn(), drawn(noise_offset=0.5), drawn(noise_offset=0.5, noise_offset_random=True)
    share = ((random.epsilon - plain.epsilon) / (fixed.epsilon - plain.epsilon)).mean(dim=(2, 3))
    # Of each picture one, the same in all its channels, from 0 to 1.
    torch.testing.assert_close(share, share[:, :1].expand_as(share), rtol=1e-3, atol=1e-3)
    assert share.min() > -1e-3 and share.max() < 1.001 and 0.4 < share.mean() < 0.6 and share.std() > 0.2


def test_a_perturbed_input_is_noised_by_more_than_it_is_to_answer():
    plain, fixed = drawn(batch=256), drawn(batch=256, ip_noise_gamma=0.3)
    assert torch.equal(fixed.epsilon, plain.epsilon)
    xi = (fixed.noising - fixed.epsilon) / 0.3
    assert abs(xi.mean()) < 0.01 and abs(xi.std() - 1) < 0.01
    assert abs(np.corrcoef(xi.flatten().numpy(), plain.epsilon.flatten().numpy())[0, 1]) < 0.01
    random = drawn(batch=256, ip_noise_gamma=0.3, ip_noise_gamma_random=True)
    share = ((random.noising - random.epsilon) / (fixed.noising - fixed.epsilon)).median(dim=1).values.mean((1, 2))
    assert 0 < share.min() < 0.1 and 0.9 < share.max() < 1 and abs(share.mean() - 0.5) < 0.06


def test_multi_resolution_noise_is_that_of_its_definition():
    """Written anew with torch's Upsample, as its author has it, on the same numbers."""
    epsilon = np.random.default_rng(0).standard_normal((2, 4, 24, 40), dtype=np.float32)
    found = random_draws.add_multires_noise(epsilon, np.random.default_rng(7), 6, 0.4)
    rng, noise = np.random.default_rng(7), torch.from_numpy(epsilon.copy())
    enlarge, sizes = torch.nn.Upsample(size=(24, 40), mode="bilinear"), []
    for i in range(6):
        r = rng.random() * 2 + 2
        sizes.append((max(1, int(24 / r**i)), max(1, int(40 / r**i))))
        noise += enlarge(torch.from_numpy(rng.standard_normal((2, 4, *sizes[-1]), dtype=np.float32))) * 0.4**i
        if 1 in sizes[-1]:
            break
    assert sizes[0] == (24, 40) and 2 < len(sizes) < 6 and sizes[-1][0] == 1
    torch.testing.assert_close(torch.from_numpy(found), noise / noise.std(), rtol=1e-5, atol=1e-6)
    # More of what is coarse: the means of pictures' channels differ more than plain noise's do.
    drawings = [drawn(batch=256, **one).epsilon for one in ({}, {"multires_noise_iterations": 8})]
    plain, coarse = (one.mean(dim=(2, 3)).std() for one in drawings)
    assert abs(plain - 1 / 8) < 0.01 and coarse > 1.25 * plain
    assert drawings[1].std().item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("objective", "cumulative"),
    [
        ({"timestep_density": "logit_normal"}, lambda p: NormalDist().cdf(math.log(p / (1 - p)))),
        (
            {"timestep_density": "logit_normal", "logit_mean": 1.0, "logit_std": 0.5},
            lambda p: NormalDist(1, 0.5).cdf(math.log(p / (1 - p))),
        ),
        ({"timestep_density": "cubic"}, lambda p: 1 - (1 - p) ** (1 / 3)),
    ],
)
@pytest.mark.parametrize(("low", "end"), [(0, 1000), (200, 700)])
def test_densities_of_timesteps(objective, cumulative, low, end):
    settings = ObjectiveSettings(min_timestep=low, max_timestep=end, **objective)
    times = PROCESS.draw_times(np.random.default_rng(0), 40_000, settings)
    assert times.dtype == torch.int64 and times.min() >= low and times.max() < end
    for p in (0.1, 0.5, 0.9, 0.99):
        share = (times < low + p * (end - low)).double().mean().item()
        assert share == pytest.approx(cumulative(p), abs=0.01), p
    # What is measured does not depend on it.
    plain = ObjectiveSettings(min_timestep=low, max_timestep=end)
    shifts = np.full(10, 0.5)
    assert torch.equal(PROCESS.spread_times(shifts, settings), PROCESS.spread_times(shifts, plain))


def test_draws_have_the_right_distributions():
    draws = drawn(batch=2000, min_timestep=100)
    assert abs(draws.epsilon.mean().item()) < 0.01
    assert abs(draws.epsilon.std().item() - 1) < 0.01
    assert draws.times.min() >= 100
    assert draws.times.max() < 1000
    assert abs(draws.times.double().mean().item() - 549.5) < 25
    correlation = np.corrcoef(draws.epsilon.flatten().numpy(), draws.posterior.flatten().numpy())[0, 1]
    assert abs(correlation) < 0.01


def test_no_step_repeats_anothers_noise():
    starts = {drawn(step=step, batch=1).epsilon[0, 0, 0, 0].item() for step in range(2000)}
    assert len(starts) > 1995
