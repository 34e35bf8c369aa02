"""Encode scenes once: the diffusion training then reads latents and captions from one file per chunk."""

from __future__ import annotations

import random

import numpy as np
import torch
from diffusers import AutoencoderKL

from pipelines.tiny.labels import BASE_STYLES, caption, spoken
from pipelines.tiny.paths import work, write_arrays
from pipelines.tiny.scenes import SIZES, Composer
from pipelines.tiny.tokens import LENGTH, clip_tokenizer
from pipelines.tiny.training import pixels
from pipelines.tiny.wording import Rewording

CHUNK = 3000  # scenes in a file, a third of each size
REDRAWN = 0.3  # share of them in a redrawn style


@torch.no_grad()
def write_chunk(vae: AutoencoderKL, tokenizer, number: int) -> None:
    """One npz: per size float16 latents (n, 8, h/4, w/4), scaled, and int16 token ids (n, 32)."""
    composer, rng, arrays = Composer(10_000 + number, BASE_STYLES, REDRAWN), random.Random(number), {}
    torch.manual_seed(number)
    for index, size in enumerate(SIZES):
        scenes = composer.batch(CHUNK // len(SIZES), size)
        made = [_encode(vae, scenes[i : i + 50]) for i in range(0, len(scenes), 50)]
        texts = [spoken(s.thing, s.style, s.colour, rng) for s in scenes]
        ids = tokenizer(texts, padding="max_length", max_length=LENGTH).input_ids
        arrays[f"latents{index}"] = np.concatenate(made)
        arrays[f"ids{index}"] = np.array(ids, np.int16)
    write_arrays(work("latents", f"{number:03}.npz"), **arrays)


def _encode(vae: AutoencoderKL, scenes) -> np.ndarray:
    with torch.autocast("cpu", torch.bfloat16):
        latents = vae.encode(pixels(scenes)).latent_dist.sample().float()
    return (latents * vae.config.scaling_factor).half().numpy()


def write(chunks: int) -> None:
    """Write the chunks that are not there yet."""
    vae = AutoencoderKL.from_pretrained(work("vae")).eval()
    tokenizer = clip_tokenizer(work("clip"))
    for number in range(chunks):
        if not work("latents", f"{number:03}.npz").exists():
            write_chunk(vae, tokenizer, number)
            print(f"latents chunk {number + 1} of {chunks}", flush=True)


class Shelf:
    """All latents in memory; picks batches of one size, some of their captions said in other words."""

    def __init__(self, tokenizer) -> None:
        self.rewording = Rewording(tokenizer)
        chunks = [dict(np.load(file)) for file in sorted(work("latents").glob("*.npz"))]
        self.latents = [np.concatenate([chunk[f"latents{i}"] for chunk in chunks]) for i in range(len(SIZES))]
        self.ids = [np.concatenate([chunk[f"ids{i}"] for chunk in chunks]) for i in range(len(SIZES))]

    def batch(self, count: int, rng: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
        """(latents float32 (n, 8, h, w), token ids int64 (n, 32)) of one random size."""
        index = rng.randrange(len(SIZES))
        rows = rng.choices(range(len(self.latents[index])), k=count)
        ids = np.stack([self.rewording(self.ids[index][row], rng) for row in rows])
        return torch.from_numpy(self.latents[index][rows]).float(), torch.from_numpy(ids.astype(np.int64))


def empty_ids(tokenizer) -> torch.Tensor:
    """Token ids (32,) of the empty caption."""
    ids = tokenizer(caption(None), padding="max_length", max_length=LENGTH).input_ids
    return torch.tensor(ids)
