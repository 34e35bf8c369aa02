"""The random draws that feed denoising training: a function of (seed, step) alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lorakiln.diffusion.process import Process
from lorakiln.schema.objectives import ObjectiveSettings

TRAINING, VALIDATION = 1, 2  # the second half of the generator's key: what the numbers are for


@dataclass(frozen=True)
class Draws:
    """The random numbers of one global batch, on the CPU.

    Attributes:
        posterior: (B, C, h, w) standard normal; the latents are mean + std * posterior.
        epsilon: (B, C, h, w) the noise.
        times: (B,) as the noise process counts them.
        dropped: (B,) bool, whose caption is replaced by the empty one.
    """

    posterior: Tensor
    epsilon: Tensor
    times: Tensor
    dropped: Tensor


def make_draws(seed: int, step: int, shape: Sequence[int], objective: ObjectiveSettings, process: Process) -> Draws:
    """The draws of a step's global batch: the same on every device count, from (seed, step) alone.

    Everything is always drawn, in one order, so that changing one setting leaves the other draws as they were.
    With a noise offset o (Guttenberg, "Diffusion with offset noise"): epsilon += o * N(0, 1) of shape (B, C, 1, 1).

    Args:
        shape: (B, C, h, w).
    """
    rng = make_generator(seed, TRAINING, step)
    batch, channels = shape[0], shape[1]
    posterior = rng.standard_normal(shape, dtype=np.float32)
    epsilon = rng.standard_normal(shape, dtype=np.float32)
    times = process.draw_times(rng, batch, objective)
    dropped = rng.random(batch) < objective.caption_dropout
    offset = rng.standard_normal((batch, channels, 1, 1), dtype=np.float32)
    if objective.noise_offset:
        epsilon += np.float32(objective.noise_offset) * offset
    return Draws(torch.from_numpy(posterior), torch.from_numpy(epsilon), times, torch.from_numpy(dropped))


def make_generator(seed: int, purpose: int, step: int) -> np.random.Generator:
    """Philox is counter-based: with (seed, purpose) as key and the step in the counter's high word, no two steps'
    numbers overlap, and any step's are there without drawing those before it. (torch's CPU generator keeps 32 bits
    of its seed.)
    """
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, 0, 0, step]))


def mix_seed(seed: int, step: int, rank: int) -> int:
    """A seed for torch's own generator, in [0, 2**32), from (seed, step, rank)."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
