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
from lorakiln.diffusion import weighting
from lorakiln.diffusion.process import Objective
from lorakiln.diffusion.weighting import EPSILON, V

SCHEDULERS: frozenset[str] = frozenset()  # all that no other kind has: see `processes.USUAL`
PREDICTIONS = (EPSILON, V)
ZERO_SNR = "rescale_betas_zero_snr"  # of a scheduler's config: the schedule is rescaled to end without signal


def make_process(config: Mapping[str, Any], where: object) -> "DDPM":
    """See `process.ProcessKind`: of any scheduler's config what concerns the noise, zero terminal SNR included."""
    scheduler, prediction = str(config.get("_class_name", "")), config.get("prediction_type", EPSILON)
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
    settings = frozenset(
        {
            "min_snr_gamma",
            "debiased_estimation",
            "p2_gamma",
            "v_pred_like_loss",
            "scale_v_pred_loss_like_noise_pred",
            "noise_offset",
            "multires_noise_iterations",
            "ip_noise_gamma",
            "zero_terminal_snr",
            "min_timestep",
            "max_timestep",
            "timestep_density",
        }
    )

    @property
    def count(self) -> int:
        """T."""
        return len(self.alphas_cumprod)

    @property
    def ends_without_signal(self) -> bool:
        """Whether the schedule is one of zero terminal SNR."""
        return bool(self.config.get(ZERO_SNR))

    def check(self, objective: Objective) -> None:
        low, high, total = compute_timestep_range(objective.min_timestep, objective.max_timestep, self.count)
        if low >= high:
            raise UserError(
                f"no timestep is left: min_timestep {low}, max_timestep {objective.max_timestep}",
                where="train.objective",
                fix=f"the model has timesteps 0 to {total - 1}",
            )
        if objective.zero_terminal_snr:
            trained = self.rescale_to_zero_snr("train.objective.zero_terminal_snr")
        else:
            trained = self
        weighting.check_weight(trained.alphas_cumprod[low:high], self.prediction_type, objective)

    def draw_times(self, rng: np.random.Generator, count: int, objective: Objective) -> Tensor:
        """Integer timesteps of the range: all equally likely, or by the density of the objective.

        With z ~ N(0, 1), u ~ U(0, 1) and n timesteps from `low` on, t = low + floor(n p) with
            logit_normal:  p = sigmoid(logit_mean + logit_std z)  (arXiv 2403.03206, section 3.1)
            cubic:         p = 1 - u^3  (arXiv 2302.08453, section 3.4)
        """
        low, high, _ = compute_timestep_range(objective.min_timestep, objective.max_timestep, self.count)
        uniform = rng.integers(low, high, size=count)
        if objective.timestep_density == "uniform":
            return torch.from_numpy(uniform)
        # From a stream of its own, far ahead: what is drawn after the times stays as it is, whatever their density.
        stream: Any = rng.bit_generator  # numpy's types know of `jumped` by each kind alone
        own = np.random.Generator(stream.jumped())
        if objective.timestep_density == "cubic":
            places = 1 - own.random(count) ** 3
        else:
            places = 1 / (1 + np.exp(-(objective.logit_mean + objective.logit_std * own.standard_normal(count))))
        return torch.from_numpy(np.minimum(low + (places * (high - low)).astype(np.int64), high - 1))

    def spread_times(self, shifts: np.ndarray, objective: Objective) -> Tensor:
        low, high, _ = compute_timestep_range(objective.min_timestep, objective.max_timestep, self.count)
        places = (np.arange(len(shifts)) + shifts) * (high - low) / len(shifts)
        return torch.from_numpy(low + places.astype(np.int64))

    def locate(self, t: Tensor) -> Tensor:
        return t / self.count

    def compute_snr(self, t: Tensor) -> Tensor:
        return weighting.compute_snr(self.alphas_cumprod[t])

    def add_noise(self, x_0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) epsilon  (eq. 4)."""
        alpha_bar = self.alphas_cumprod[t].view(-1, 1, 1, 1)
        return alpha_bar.sqrt() * x_0 + (1 - alpha_bar).sqrt() * epsilon

    def compute_target(self, x_0: Tensor, epsilon: Tensor, t: Tensor) -> Tensor:
        """
        epsilon:       epsilon
        v_prediction:  v_t = sqrt(alpha_bar_t) epsilon - sqrt(1 - alpha_bar_t) x_0  (arXiv 2202.00512, appendix D)
        """
        if self.prediction_type == EPSILON:
            return epsilon
        alpha_bar = self.alphas_cumprod[t].view(-1, 1, 1, 1)
        return alpha_bar.sqrt() * epsilon - (1 - alpha_bar).sqrt() * x_0

    def compute_weight(self, t: Tensor, objective: Objective) -> Tensor:
        return weighting.compute_weight(self.alphas_cumprod[t], self.prediction_type, objective)

    def rescale_to_zero_snr(self, where: str | None = None) -> Self:
        """With sqrt(alpha_bar) shifted to 0 at the last timestep and scaled to what it was at the first (arXiv
        2305.08891, algorithm 1), and drawn from the last timestep on (trailing spacing, section 3.3).

        Args:
            where: the setting that asks for it, for the message.
        """
        if self.ends_without_signal:
            return self
        if self.prediction_type != V:
            raise UserError(
                f"this base predicts {self.prediction_type}: of noise alone, that says nothing of the picture",
                where=where,
                fix="use a base that predicts v, or "
                + (f"set {where}=false" if where else "one with its own schedule"),
            )
        rescaled = make_process({**self.config, ZERO_SNR: True, "timestep_spacing": "trailing"}, None)
        return replace(self, alphas_cumprod=rescaled.alphas_cumprod.to(self.alphas_cumprod), config=rescaled.config)

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
        found = {"timesteps": compute_timestep_range(objective.min_timestep, objective.max_timestep, self.count)}
        return {**found, "zero_terminal_snr": True} if self.ends_without_signal else found

    def describe(self, objective: Objective) -> dict[str, str]:
        timesteps = format_timestep_range(
            *compute_timestep_range(objective.min_timestep, objective.max_timestep, self.count)
        )
        found = {"predicts": self.prediction_type, **({"timesteps": timesteps} if timesteps else {})}
        return {**found, "noise": "to zero terminal SNR"} if self.ends_without_signal else found

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
