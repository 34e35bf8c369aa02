"""What a judge must overlook: a drawing that is bent, turned, mirrored, or in somewhat other colours.

A LoRA draws with an unsure hand. A judge that has only seen straight drawings reads a wavy hammer as a rabbit.
"""

from __future__ import annotations

import random

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

BENT = 0.7  # share of a batch
TURN, STRETCH, SHIFT, WAVE = 0.25, 0.15, 0.10, 0.055  # radians; share; of half an edge; of half an edge (std)
CELLS = 5  # a wave's support points along an edge


def bent(values: Tensor) -> Tensor:
    """Pictures (n, 3, h, w), most of them turned, stretched, moved, mirrored and waved; the edge's colour goes on."""
    count = len(values)
    turn = (torch.rand(count) * 2 - 1) * TURN
    wide, high = (1 + (torch.rand(count) * 2 - 1) * STRETCH for _ in range(2))
    wide = torch.where(torch.rand(count) < 0.3, -wide, wide)
    move = (torch.rand(count, 2) * 2 - 1) * SHIFT
    rows = [turn.cos() * wide, -turn.sin() * high, move[:, 0], turn.sin() * wide, turn.cos() * high, move[:, 1]]
    grid = F.affine_grid(torch.stack(rows, 1).view(count, 2, 3), list(values.shape), align_corners=False)
    wave = torch.randn(count, 2, CELLS, CELLS) * WAVE * torch.rand(count, 1, 1, 1)
    wave = F.interpolate(wave, values.shape[2:], mode="bicubic", align_corners=False)
    made = F.grid_sample(values, grid + wave.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)
    return torch.where((torch.rand(count) < BENT).view(-1, 1, 1, 1), made, values)


def recoloured(sprite: Image.Image, rng: random.Random) -> Image.Image:
    """An RGBA sprite with its hue turned by up to 17 degrees, its saturation and lightness changed."""
    hue, saturation, lightness = sprite.convert("RGB").convert("HSV").split()
    turn, full, light = rng.randint(-12, 12), rng.uniform(0.5, 1.4), rng.uniform(0.75, 1.15)
    parts = (
        hue.point(lambda v: (v + turn) % 256),
        saturation.point(lambda v: min(255, round(v * full))),
        lightness.point(lambda v: min(255, round(v * light))),
    )
    made = Image.merge("HSV", parts).convert("RGB")
    made.putalpha(sprite.getchannel("A"))
    return made
