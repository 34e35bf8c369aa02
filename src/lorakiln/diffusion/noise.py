"""The maths of denoising training on one screen, and the random draws that feed it.

Symbols: x_0 clean latents, epsilon noise, t timestep, alpha_bar_t the schedule's cumulative product, x_t noisy
latents, SNR = alpha_bar_t / (1 - alpha_bar_t). Shapes: B pictures, C channels, h x w cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lorakiln.schema.train import ObjectiveSettings

TRAINING, VALIDATION = 1, 2  # the second half of the generator's key: what the numbers are for


def add_noise(x_0: Tensor, epsilon: Tensor, alpha_bar: Tensor) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) epsilon  (DDPM, arXiv 2006.11239, eq. 4).

    Args:
        x_0, epsilon: (B, C, h, w).
        alpha_bar: (B,) alpha_bar_t of each picture's t.
    """
    alpha_bar = alpha_bar.view(-1, 1, 1, 1)
    return alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * epsilon


def target(x_0: Tensor, epsilon: Tensor, alpha_bar: Tensor, prediction_type: str) -> Tensor:
    """What the network should answer, (B, C, h, w).

    epsilon:       epsilon
    v_prediction:  v_t = sqrt(alpha_bar_t) epsilon - sqrt(1 - alpha_bar_t) x_0  (arXiv 2202.00512, appendix D)
    """
    if prediction_type == "epsilon":
        return epsilon
    alpha_bar = alpha_bar.view(-1, 1, 1, 1)
    return alpha_bar.sqrt() * epsilon - (1 - alpha_bar).sqrt() * x_0


def weight(alpha_bar: Tensor, prediction_type: str, gamma: float | None) -> Tensor:
    """Min-SNR-gamma weight of each picture's loss, (B,); 1 without gamma  (arXiv 2303.09556, section 3.4).

    epsilon:       min(SNR, gamma) / SNR
    v_prediction:  min(SNR, gamma) / (SNR + 1)
    """
    if gamma is None:
        return torch.ones_like(alpha_bar)
    snr = alpha_bar / (1 - alpha_bar)
    if prediction_type == "epsilon":
        return (gamma / snr).clamp(max=1.0)  # the same, and finite at SNR = 0
    return snr.clamp(max=gamma) / (snr + 1)


def error(prediction: Tensor, wanted: Tensor, objective: ObjectiveSettings) -> Tensor:
    """Mean over each picture's elements, (B,), of, with d = prediction - wanted and delta = huber_delta:

    mse:    d^2
    huber:  2 delta (sqrt(d^2 + delta^2) - delta)   (pseudo-Huber as in diffusers' and kohya's scripts: d^2 if small)
    """
    d = prediction - wanted
    if objective.kind == "mse":
        loss = d.square()
    else:
        delta = objective.huber_delta
        loss = 2 * delta * ((d.square() + delta**2).sqrt() - delta)
    return loss.mean(dim=(1, 2, 3))


@dataclass(frozen=True)
class Draws:
    """The random numbers of one global batch, on the CPU.

    Attributes:
        posterior: (B, C, h, w) standard normal; the latents are mean + std * posterior.
        epsilon: (B, C, h, w) the noise.
        timesteps: (B,) int64.
        dropped: (B,) bool, whose caption is replaced by the empty one.
    """

    posterior: Tensor
    epsilon: Tensor
    timesteps: Tensor
    dropped: Tensor


def draw(seed: int, step: int, shape: Sequence[int], objective: ObjectiveSettings, end: int) -> Draws:
    """The draws of a step's global batch: the same on every device count, from (seed, step) alone.

    Everything is always drawn, in one order, so that changing one setting leaves the other draws as they were.
    With a noise offset o (Guttenberg, "Diffusion with offset noise"): epsilon += o * N(0, 1) of shape (B, C, 1, 1).

    Args:
        shape: (B, C, h, w).
        end: timesteps are uniform in [objective.min_timestep, end).
    """
    rng = generator(seed, TRAINING, step)
    batch, channels = shape[0], shape[1]
    posterior = rng.standard_normal(shape, dtype=np.float32)
    epsilon = rng.standard_normal(shape, dtype=np.float32)
    timesteps = rng.integers(objective.min_timestep, end, size=batch)
    dropped = rng.random(batch) < objective.caption_dropout
    offset = rng.standard_normal((batch, channels, 1, 1), dtype=np.float32)
    if objective.noise_offset:
        epsilon += np.float32(objective.noise_offset) * offset
    return Draws(*map(torch.from_numpy, (posterior, epsilon, timesteps, dropped)))


def generator(seed: int, purpose: int, step: int) -> np.random.Generator:
    """Philox is counter-based: with (seed, purpose) as key and the step in the counter's high word, no two steps'
    numbers overlap, and any step's are there without drawing those before it. (torch's CPU generator keeps 32 bits
    of its seed.)
    """
    return np.random.Generator(np.random.Philox(key=[seed, purpose], counter=[0, 0, 0, step]))


def mixed(seed: int, step: int, rank: int) -> int:
    """A seed for torch's own generator, in [0, 2**32), from (seed, step, rank)."""
    return int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0])
