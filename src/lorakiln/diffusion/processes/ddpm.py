"""DDPM (arXiv 2006.11239), by which Stable Diffusion 1.x, 2.x and XL were trained: T timesteps, 0 the least noisy.

Symbols as in `diffusion.process`, and alpha_bar_t the schedule's cumulative product, SNR = alpha_bar_t / (1 -
alpha_bar_t).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import Tensor

from lorakiln.console.errors import UserError
from lorakiln.diffusion.process import Objective

SCHEDULERS: frozenset[str] = frozenset()  # all that no other kind has: see `processes.USUAL`
PREDICTIONS = ("epsilon", "v_prediction")


def make_process(config: Mapping[str, Any], where: object) -> "DDPM":
    """See `process.ProcessKind`: of any scheduler's config what concerns the noise, zero terminal SNR included."""
    scheduler, prediction = str(config.get("_class_name", "")), config.get("prediction_type", "epsilon")
    if scheduler.startswith("FlowMatch"):
        fix = "use a base whose scheduler is DDPM's: DDIM, PNDM, Euler, DPM++, ..."
        raise UserError(f"its scheduler, {scheduler}, is of a flow, not of DDPM", where=where, fix=fix)
    if prediction not in PREDICTIONS:
        fix = "use one that predicts epsilon or v_prediction"
        raise UserError(f"a model that predicts {prediction!r} cannot be trained", where=where, fix=fix)
    noise = {key: value for key, value in config.items() if key in DDPMScheduler().config}
    alphas_cumprod = DDPMScheduler.from_config(noise).alphas_cumprod.float()
    if not bool(((alphas_cumprod >= 0) & (alphas_cumprod <= 1)).all()):
        what = "its noise schedule (beta_start, beta_end, trained_betas) leaves the range from 0 to 1"
        raise UserError(what, where=where, fix="download it again")
    return DDPM(alphas_cumprod, prediction, config)


@dataclass(frozen=True)
class DDPM:
    """See `process.Process`.

    Attributes:
        alphas_cumprod: (T,) float32, alpha_bar_t of every timestep.
        prediction_type: what the network predicts: "epsilon" or "v_prediction".
        config: the base's scheduler_config.json.
    """

    alphas_cumprod: Tensor
    prediction_type: str
    config: Mapping[str, Any]
    name = "DDPM"
    settings = frozenset({"min_snr_gamma", "noise_offset", "min_timestep", "max_timestep"})

    @property
    def count(self) -> int:
        """T."""
        return len(self.alphas_cumprod)

    def check(self, objective: Objective) -> None:
        low, high, total = compute_timestep_range(objective.min_timestep, objective.max_timestep, self.count)
        if low >= high:
            raise UserError(
                f"no timestep is left: min_timestep {low}, max_timestep {objective.max_timestep}",
                where="train.objective",
                fix=f"the model has timesteps 0 to {total - 1}",
            )

    def draw_times(self, rng: np.random.Generator, count: int, objective: Objective) -> Tensor:
        """Integer timesteps, all of the range equally likely."""
        low, high, _ = compute_timestep_range(objective.min_timestep, objective.max_timestep, self.count)
        return torch.from_numpy(rng.integers(low, high, size=count))

    def spread_times(self, shifts: np.ndarray, objective: Objective) -> Tensor:
        low, high, _ = compute_timestep_range(objective.min_timestep, objective.max_timestep, self.count)
        places = (np.arange(len(shifts)) + shifts) * (high - low) / len(shifts)
        return torch.from_numpy(low + places.astype(np.int64))

    def locate(self, t: Tensor) -> Tensor:
        return t / self.count

    def add_noise(self, x_0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) epsilon  (eq. 4)."""
        alpha_bar = self.alphas_cumprod[t].view(-1, 1, 1, 1)
        return alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * epsilon

    def compute_target(self, x_0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """
        epsilon:       epsilon
        v_prediction:  v_t = sqrt(alpha_bar_t) epsilon - sqrt(1 - alpha_bar_t) x_0  (arXiv 2202.00512, appendix D)
        """
        if self.prediction_type == "epsilon":
            return epsilon
        alpha_bar = self.alphas_cumprod[t].view(-1, 1, 1, 1)
        return alpha_bar.sqrt() * epsilon - (1 - alpha_bar).sqrt() * x_0

    def compute_weight(self, t: Tensor, objective: Objective) -> Tensor:
        """Min-SNR-gamma; 1 without gamma  (arXiv 2303.09556, section 3.4).

        epsilon:       min(SNR, gamma) / SNR
        v_prediction:  min(SNR, gamma) / (SNR + 1)
        """
        alpha_bar, gamma = self.alphas_cumprod[t], objective.min_snr_gamma
        if gamma is None:
            return torch.ones_like(alpha_bar)
        snr = alpha_bar / (1 - alpha_bar)
        if self.prediction_type == "epsilon":
            bounded: Tensor = gamma / snr
            return bounded.clamp(max=1.0)  # the same, and finite at SNR = 0
        return snr.clamp(max=gamma) / (snr + 1)

    def make_sampler(self, steps: int, where: str | None = None) -> "DDIM":
        scheduler = self.make_scheduler()
        # Schedules that begin at a later step have no room for as many as there are.
        if steps <= self.count:
            scheduler.set_timesteps(steps)
        if steps > self.count or int(scheduler.timesteps.max()) >= self.count:
            what = f"{steps} steps are more than the model's noise schedule has"
            raise UserError(what, where=where, fix="20 to 50 do")
        return DDIM(scheduler)

    def make_scheduler(self) -> DDIMScheduler:
        """Latents are not bounded by 1, as DDIM's default supposes."""
        scheduler: DDIMScheduler = DDIMScheduler.from_config(self.config, clip_sample=False)
        return scheduler

    def state_facts(self, objective: Objective) -> dict[str, Any]:
        return {"timesteps": compute_timestep_range(objective.min_timestep, objective.max_timestep, self.count)}

    def describe(self, objective: Objective) -> dict[str, str]:
        told = format_timestep_range(
            *compute_timestep_range(objective.min_timestep, objective.max_timestep, self.count)
        )
        return {"timesteps": told} if told else {}

    def to(self, device: torch.device) -> Self:
        return replace(self, alphas_cumprod=self.alphas_cumprod.to(device))


class DDIM:
    """DDIM (arXiv 2010.02502) with eta = 0; see `process.Sampler`.

    Args:
        scheduler: diffusers', with its steps set.
    """

    def __init__(self, scheduler: DDIMScheduler) -> None:
        self.scheduler, self.times = scheduler, scheduler.timesteps

    def begin(self, epsilon: Tensor, x_0: Tensor | None = None, at: int = 0) -> Tensor:
        if x_0 is None:
            return epsilon * self.scheduler.init_noise_sigma
        clean, times = x_0.to(epsilon).expand_as(epsilon), self.times[at : at + 1]
        return self.scheduler.add_noise(clean, epsilon, times)  # type: ignore[arg-type] # diffusers means any tensor

    def step(self, prediction: Tensor, at: int, x_t: Tensor) -> Tensor:
        time: Any = self.times[at]  # diffusers says int, and takes what its own `timesteps` hold
        before: Tensor = self.scheduler.step(prediction, time, x_t, eta=0.0, return_dict=False)[0]
        return before


def compute_timestep_range(first: int, end: int | None, total: int) -> tuple[int, int, int]:
    """The first timestep that is trained on, the one after the last, and how many the model has.

    Args:
        first: min_timestep of `train.objective`.
        end: its max_timestep.
        total: how many the model has.
    """
    return first, min(end or total, total), total


def format_timestep_range(low: int, high: int, total: int) -> str:
    """ "300 to 999, of 0 to 999"; empty for all of them."""
    return "" if (low, high) == (0, total) else f"{low} to {high - 1}, of 0 to {total - 1}"
