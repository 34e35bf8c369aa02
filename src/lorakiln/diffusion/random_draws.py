"""The random draws that feed denoising training: a function of (seed, step) alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from lorakiln.diffusion.process import Process
from lorakiln.schema.objectives import ObjectiveSettings

# The second half of the generator's key: what the numbers are for.
TRAINING, VALIDATION, OFFSET_STRENGTH, MULTIRES, PERTURBATION, PERTURBATION_STRENGTH, CAPTIONS = range(1, 8)


@dataclass(frozen=True)
class Draws:
    """The random numbers of one global batch, on the CPU.

    Attributes:
        posterior: (B, C, h, w) standard normal; the latents are mean + std * posterior.
        epsilon: (B, C, h, w) the noise.
        times: (B,) as the noise process counts them.
        chances: (B,) in [0, 1), of each picture's caption: below the rate, it is replaced by the empty one.
        dropped: (B,) bool, whose caption is.
        noising: (B, C, h, w) what the latents are noised by: `epsilon` itself, but where the input is perturbed.
    """

    posterior: Tensor
    epsilon: Tensor
    times: Tensor
    chances: Tensor
    dropped: Tensor
    noising: Tensor


def make_draws(seed: int, step: int, shape: Sequence[int], objective: ObjectiveSettings, process: Process) -> Draws:
    """The draws of a step's global batch: the same on every device count, from (seed, step) alone.

    What every training needs is always drawn, in one order, and the rest from streams of its own, so that changing one
    setting leaves the other draws as they were. In this order, with xi ~ N(0, 1) and u ~ U(0, 1) or, if the strength is
    fixed, u = 1:
        noise_offset o:      epsilon += u o xi, xi of shape (B, C, 1, 1)  (Guttenberg, "Diffusion with offset noise")
        multires_noise_*:    see `add_multires_noise`
        ip_noise_gamma g:    noising = epsilon + u g xi, xi of shape (B, C, h, w)  (arXiv 2301.11706, algorithm 1)

    Args:
        shape: (B, C, h, w).
    """
    rng = make_generator(seed, TRAINING, step)
    batch, channels = shape[0], shape[1]
    posterior = rng.standard_normal(shape, dtype=np.float32)
    epsilon = rng.standard_normal(shape, dtype=np.float32)
    times = process.draw_times(rng, batch, objective)
    chances = torch.from_numpy(rng.random(batch))
    offset = rng.standard_normal((batch, channels, 1, 1), dtype=np.float32)

    def strength(most: float, random: bool, purpose: int) -> np.ndarray | np.float32:
        drawn = make_generator(seed, purpose, step).random((batch, 1, 1, 1), dtype=np.float32) if random else 1
        return np.float32(most) * drawn

    if objective.noise_offset:
        epsilon += strength(objective.noise_offset, objective.noise_offset_random, OFFSET_STRENGTH) * offset
    if objective.multires_noise_iterations:
        iterations, discount = objective.multires_noise_iterations, objective.multires_noise_discount
        epsilon = add_multires_noise(epsilon, make_generator(seed, MULTIRES, step), iterations, discount)
    noising = epsilon
    if objective.ip_noise_gamma:
        xi = make_generator(seed, PERTURBATION, step).standard_normal(shape, dtype=np.float32)
        gamma = strength(objective.ip_noise_gamma, objective.ip_noise_gamma_random, PERTURBATION_STRENGTH)
        noising = epsilon + gamma * xi
    noise = torch.from_numpy(epsilon)
    return Draws(
        torch.from_numpy(posterior),
        noise,
        times,
        chances,
        chances < objective.caption_dropout,
        noise if noising is epsilon else torch.from_numpy(noising),
    )


def add_multires_noise(epsilon: np.ndarray, rng: np.random.Generator, iterations: int, discount: float) -> np.ndarray:
    """Noise with coarser noises added, which have more of what is large in a picture (Whitaker, "Multi-resolution noise
    for diffusion model training"; sd-scripts).

    For i = 0, 1, ... noise of (h / r^i, w / r^i) cells, with r ~ U(2, 4) anew each time, is made as large as epsilon
    (bilinear) and added discount^i times, until there are enough or it has come down to one cell's width or height.
    What comes out is divided by its standard deviation.

    Args:
        epsilon: (B, C, h, w) float32; another one is returned.
    """
    batch, channels, height, width = epsilon.shape
    total = torch.from_numpy(epsilon.copy())
    for i in range(iterations):
        ratio = rng.uniform(2, 4) ** i
        rows, columns = max(1, int(height / ratio)), max(1, int(width / ratio))
        coarse = torch.from_numpy(rng.standard_normal((batch, channels, rows, columns), dtype=np.float32))
        total += discount**i * interpolate(coarse, (height, width), mode="bilinear")
        if rows == 1 or columns == 1:
            break
    added = total.numpy()
    # numpy's sum, which no number of threads changes.
    return added / np.float32(added.std(dtype=np.float64, ddof=1))


def make_generator(seed: int, purpose: int, step: int, place: int = 0) -> np.random.Generator:
    """Philox is counter-based: with (seed, purpose) as key and the step in the counter's high word, no two steps'
    numbers overlap, and any step's are there without drawing those before it. (torch's CPU generator keeps 32 bits
    of its seed.)

    Args:
        place: within the step, where each has numbers of its own.
    """
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, 0, place, step]))


def mix_seed(seed: int, step: int, rank: int) -> int:
    """A seed for torch's own generator, in [0, 2**32), from (seed, step, rank)."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
