"""What a noise process is: the one thing that training, validation and drawing ask about noise.

Symbols: x_0 clean latents, epsilon noise, t time, x_t noisy latents. Shapes: B pictures, C channels, h x w cells.
"""

from collections.abc import Mapping
from typing import Any, Protocol, Self

import numpy as np
import torch
from diffusers import SchedulerMixin
from torch import Tensor

# The settings `train.objective`; a process reads of them what its `settings` name. Their class is not imported: what
# only loads a base does not depend on every loss.
Objective = Any


class Sampler(Protocol):
    """The way back from noise, in a number of steps.

    Attributes:
        times: (N,) the times at which the network is asked, the noisiest first.
    """

    times: Tensor

    def begin(self, epsilon: Tensor, x_0: Tensor | None = None, at: int = 0) -> Tensor:
        """x_t at `times[at]`, (B, C, h, w): of noise alone, or of `x_0`, (1, C, h, w), noised so far."""
        ...

    def step(self, prediction: Tensor, at: int, x_t: Tensor) -> Tensor:
        """x_t at the time after `times[at]`, or x_0 after the last, from the network's answer at `times[at]`."""
        ...


class Process(Protocol):
    """One base model's noise process. Times are counted as the process and the model's network count them.

    Attributes:
        name: for people.
        settings: those of the objective's settings in `schema.objectives.NOISE` that mean something here.
    """

    name: str
    settings: frozenset[str]

    def check(self, objective: Objective) -> None:
        """Raise UserError for values of its settings that it cannot have."""
        ...

    def draw_times(self, rng: np.random.Generator, count: int, objective: Objective) -> Tensor:
        """Times to train on, (count,), on the CPU."""
        ...

    def spread_times(self, shifts: np.ndarray, objective: Objective) -> Tensor:
        """One time in each of n parts of those that are trained on, (n,), on the CPU, to measure at.

        The parts are equally likely as the process has times: how often the objective has which (timestep_density) does
        not count, as its weights do not.

        Args:
            shifts: (n,) in [0, 1), the place within each part.
        """
        ...

    def locate(self, t: Tensor) -> Tensor:
        """How far times, (B,), are on the way from the least noisy, 0, to the noisiest, 1."""
        ...

    def compute_snr(self, t: Tensor) -> Tensor:
        """The squared ratio of the clean latents' share of x_t to the noise's, (B,), of times (B,)."""
        ...

    def add_noise(self, x_0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """x_t, (B, C, h, w), of (B, C, h, w) latents and noise at (B,) times."""
        ...

    def compute_target(self, x_0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """What the network should answer to x_t, (B, C, h, w)."""
        ...

    def compute_weight(self, t: Tensor, objective: Objective) -> Tensor:
        """The weight of each picture's loss, (B,) float32; 1 where the objective says nothing of weights."""
        ...

    def rescale_to_zero_snr(self) -> Self:
        """The process with a last time that is noise alone; itself, if that is so already.

        Raises:
            UserError: its network cannot answer there.
        """
        ...

    def make_sampler(self, steps: int, where: str | None = None) -> Sampler:
        """The deterministic way back in so many steps.

        Args:
            where: the setting that says how many, for the message.

        Raises:
            UserError: the process has no so many.
        """
        ...

    def make_scheduler(self) -> SchedulerMixin:
        """The same as diffusers' pipelines take it."""
        ...

    def state_facts(self, objective: Objective) -> dict[str, Any]:
        """What a run's facts.json keeps of the noise that it was trained on, JSON-able."""
        ...

    def describe(self, objective: Objective) -> dict[str, str]:
        """What a training's plan says of it, by what it is called; empty where it is as always."""
        ...

    def to(self, device: torch.device) -> Self:
        """The process with its tensors on `device`."""
        ...


class ProcessKind(Protocol):
    """A kind's module in `processes/`.

    Attributes:
        SCHEDULERS: the classes of diffusers' schedulers that say, in a base's scheduler_config.json, that it was
            trained by this process.
    """

    SCHEDULERS: frozenset[str]

    def make_process(self, config: Mapping[str, Any], where: object) -> Process:
        """The process that a base was trained by, on the CPU.

        Args:
            config: scheduler_config.json.
            where: its file, for messages.

        Raises:
            UserError: it says what the process cannot be.
        """
        ...
