"""The draws: a function of (seed, step) alone."""

import hashlib

import numpy as np
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
