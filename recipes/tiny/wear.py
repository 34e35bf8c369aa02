"""Wear: blur, noise, tint and trips through the tiny VAE, so that CLIP and BLIP read generated pictures too."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageFilter

from recipes.tiny.paths import work


@cache
def _vae():
    from diffusers import AutoencoderKL

    folder = work("vae")
    done = (folder / "config.json").exists()
    return AutoencoderKL.from_pretrained(folder).eval() if done else None


def worn(pictures: Sequence[np.ndarray], rng: random.Random, trips: float = 0.3) -> list[np.ndarray]:
    """A copy of uint8 pictures of one size: about half as they are, the rest worn in one way or several.

    Args:
        trips: share of them that the VAE draws anew: the sampler's own softness, latents with a little noise.
    """
    out = [_worn_one(p, rng) for p in pictures]
    chosen = [i for i in range(len(out)) if rng.random() < trips]
    if chosen and _vae() is not None:
        for i, picture in zip(chosen, _round_trip([out[i] for i in chosen], rng.uniform(0, 0.7)), strict=True):
            out[i] = picture
    return out


def _worn_one(picture: np.ndarray, rng: random.Random) -> np.ndarray:
    draw = rng.random()
    if draw > 0.45:
        return picture
    if draw < 0.3:
        image = Image.fromarray(picture)
        if draw < 0.15:
            image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
        else:
            small = [round(edge * rng.uniform(0.55, 0.9)) for edge in image.size]
            image = image.resize(small, Image.Resampling.BILINEAR).resize(image.size, Image.Resampling.BICUBIC)
        picture = np.asarray(image)
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(1, 8), picture.shape)
    tint = np.array([rng.uniform(-6, 6) for _ in range(3)])
    return (picture + noise + tint).clip(0, 255).astype(np.uint8)


@torch.no_grad()
def _round_trip(pictures: Sequence[np.ndarray], strength: float) -> list[np.ndarray]:
    values = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    vae = _vae()
    with torch.autocast("cpu", torch.bfloat16):
        latents = vae.encode(values).latent_dist.mode()
        latents = latents + torch.randn_like(latents) * latents.std() * strength
        back = vae.decode(latents).sample.float()
    return list(((back.clamp(-1, 1) + 1) * 127.5).byte().permute(0, 2, 3, 1).numpy())
