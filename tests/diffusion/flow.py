"""A rectified flow (arXiv 2403.03206), a kind of noise process that the package does not have: x_t, straight to noise.

Symbols as in `lorakiln.diffusion.process`; t, in (0, 1), is the share of noise. Times are logit-normal, shifted by k.
"""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

SCHEDULERS = frozenset({"FlowMatchEulerDiscreteScheduler"})


def make_process(config, where):
    return Flow(config.get("shift", 1.0), config)


@dataclass(frozen=True)
class Flow:
    """See `lorakiln.diffusion.process.Process`."""

    shift: float
    config: dict
    name = "rectified flow"
    settings = frozenset()

    def check(self, objective):
        pass

    def draw_times(self, rng, count, objective):
        return self._shifted(rng.standard_normal(count))

    def spread_times(self, shifts, objective):
        """Quantiles of the density that `draw_times` draws from."""
        places = (np.arange(len(shifts)) + np.clip(shifts, 1e-6, 1 - 1e-6)) / len(shifts)
        return self._shifted(np.array([NormalDist().inv_cdf(place) for place in places]))

    def _shifted(self, logits):
        """t' = k t / (1 + (k - 1) t), of t = sigmoid(logits)."""
        t = torch.from_numpy(logits).sigmoid()
        return (self.shift * t / (1 + (self.shift - 1) * t)).float()

    def locate(self, t):
        return t

    def add_noise(self, x_0, epsilon, t):
        """x_t = (1 - t) x_0 + t epsilon."""
        t = t.view(-1, 1, 1, 1)
        return (1 - t) * x_0 + t * epsilon

    def compute_target(self, x_0, epsilon, t):
        """v = d x_t / d t = epsilon - x_0."""
        return epsilon - x_0

    def compute_weight(self, t, objective):
        return torch.ones_like(t)

    def compute_snr(self, t):
        return ((1 - t) / t) ** 2

    def rescale_to_zero_snr(self):
        return self  # t = 1 is noise alone

    def make_sampler(self, steps, where=None):
        t = torch.linspace(1, 1 / steps, steps, dtype=torch.float64)
        return Euler((self.shift * t / (1 + (self.shift - 1) * t)).float())

    def make_scheduler(self):
        return FlowMatchEulerDiscreteScheduler.from_config(self.config)

    def state_facts(self, objective):
        return {}

    def describe(self, objective):
        return {"noise": f"rectified flow, shift {self.shift:g}"}

    def to(self, device):
        return self


class Euler:
    """x_t + (t' - t) v, from each time to the next; see `lorakiln.diffusion.process.Sampler`."""

    def __init__(self, times):
        self.times = times

    def begin(self, epsilon, x_0=None, at=0):
        t = self.times[at]
        return epsilon if x_0 is None else (1 - t) * x_0 + t * epsilon

    def step(self, prediction, at, x_t):
        after = self.times[at + 1] if at + 1 < len(self.times) else 0.0
        return x_t + (after - self.times[at]) * prediction
