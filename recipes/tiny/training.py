"""What the trainings share: draws by step, a learning rate, an optimizer, checkpoints, several processes, pixels."""

from __future__ import annotations

import math
import os
import random
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn


def seed_step(seed: int, step: int, rank: int = 0) -> random.Random:
    """Seed torch and return a generator, both a function of (seed, step, rank) alone.

    So there is no generator's state to save: a run that was stopped goes on with the draws it would have made.
    """
    drawn = random.Random(f"{seed} {step} {rank}")
    torch.manual_seed(drawn.getrandbits(63))
    return drawn


def compute_rate(step: int, steps: int, peak: float, warmup: int = 100) -> float:
    """Linear warmup over `warmup` steps, times a cosine over all `steps` down to 2% of the peak."""
    fall = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
    return peak * min(1.0, (step + 1) / warmup) * fall


def set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value


# Matrices inside the layers of CLIP, BLIP and the text encoder, and of the UNet's attention.
INNER = re.compile(r"\.layers?\.|attn|\.ff\.|time_emb_proj")


class MuonAndAdamW:
    """Muon for the matrices inside the layers, AdamW for everything else (Jordan 2024): a small ViT that starts
    from nothing learns markedly faster than with AdamW alone."""

    def __init__(self, model: nn.Module, decay: float = 0.02) -> None:
        inner = {n: p for n, p in model.named_parameters() if INNER.search(n) and p.ndim == 2}
        rest = [p for n, p in model.named_parameters() if n not in inner]
        self.parts = (
            torch.optim.Muon(inner.values(), weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=decay, fused=True),
        )

    def set_rate(self, value: float) -> None:
        for part in self.parts:
            set_rate(part, value)

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, dict]:
        return {str(i): part.state_dict() for i, part in enumerate(self.parts)}

    def load_state_dict(self, state: dict[str, dict]) -> None:
        for i, part in enumerate(self.parts):
            part.load_state_dict(state[str(i)])


def to_tensor(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """uint8 pictures (h, w, 3) of one size as float32 (n, 3, h, w) in [-1, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pictures(values: torch.Tensor) -> list[np.ndarray]:
    """The way back from (n, 3, h, w); fractions are cut off, not rounded."""
    return list(((values.clamp(-1, 1) + 1) * 127.5).byte().permute(0, 2, 3, 1).numpy())


def save_state(path: Path, step: int, **parts: object) -> None:
    """Write a checkpoint after `step` steps so that a kill in the middle leaves the old one whole."""
    state = {"step": step} | {name: part.state_dict() for name, part in parts.items()}
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def load_state(path: Path, **parts: nn.Module | torch.optim.Optimizer) -> int:
    """Restore what save_state wrote; the number of steps that are done, 0 if there is nothing."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["step"]


def join_processes() -> int:
    """This process's rank; 0 when it is alone."""
    if "WORLD_SIZE" not in os.environ:
        return 0
    dist.init_process_group("gloo")
    return dist.get_rank()


def wait_for_first() -> None:
    """Let no process read what the first one is still writing."""
    if dist.is_initialized():
        dist.barrier()


def average_gradients(model: nn.Module) -> None:
    """Put the mean over the processes into every gradient, in one message."""
    if not dist.is_initialized():
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
