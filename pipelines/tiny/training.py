"""What the four trainings share: a clock, a schedule, batches of scenes as tensors, resumable state."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipelines.tiny.scenes import Scene


class Clock:
    """Progress of a time-boxed run: 0 at the start, 1 when its minutes are spent (time before a resume counts)."""

    def __init__(self, minutes: float, spent: float = 0.0) -> None:
        self.limit, self.before, self.start = minutes * 60, spent, time.monotonic()

    @property
    def spent(self) -> float:
        return self.before + time.monotonic() - self.start

    @property
    def progress(self) -> float:
        return min(1.0, self.spent / self.limit)


def rate(progress: float, step: int, peak: float, warmup: int = 100) -> float:
    """Linear warmup over `warmup` steps, then a cosine over the clock's progress down to 2% of the peak."""
    return peak * min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


def set_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value


# Matrices inside the layers of CLIP, BLIP and the text encoder, and of the UNet's attention.
INNER = re.compile(r"\.layers?\.|attn|\.ff\.|time_emb_proj")


class Both:
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


def pixels(scenes: Sequence[Scene]) -> torch.Tensor:
    """Scenes of one size as float32 (n, 3, h, w) in [-1, 1]."""
    stacked = np.stack([scene.pixels for scene in scenes])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 127.5 - 1


def save_state(path: Path, step: int, spent: float, **parts: object) -> None:
    """Write a checkpoint so that a kill in the middle leaves the old one whole."""
    state = {"step": step, "spent": spent}
    state |= {k: v.state_dict() if hasattr(v, "state_dict") else v for k, v in parts.items()}
    torch.save(state, path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)


def load_state(path: Path, **parts: nn.Module | torch.optim.Optimizer) -> tuple[int, float]:
    """Restore what save_state wrote; (step, seconds spent), or zeros if there is nothing."""
    if not path.exists():
        return 0, 0.0
    state = torch.load(path, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    return state["step"], state["spent"]
