"""Encode scenes once: the diffusion training then reads latents and captions from one file per chunk."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL

from pipelines.tiny.labels import BASE_STYLES, caption, spoken
from pipelines.tiny.paths import work
from pipelines.tiny.scenes import SIZES, Composer
from pipelines.tiny.tokens import LENGTH, clip_tokenizer
from pipelines.tiny.training import pixels
from pipelines.tiny.wording import Rewording

CHUNK = 3000  # scenes in a file, a third of each size
REDRAWN = 0.3  # share of them in a redrawn style


@torch.no_grad()
def write_chunk(vae: AutoencoderKL, tokenizer, number: int) -> Path:
    """One npz: per size float16 latents (n, 8, h/4, w/4), scaled, and int16 token ids (n, 32)."""
    path = work("latents", f"{number:03}.npz")
    composer, rng, arrays = Composer(10_000 + number, BASE_STYLES, REDRAWN), random.Random(number), {}
    for index, size in enumerate(SIZES):
        scenes = composer.batch(CHUNK // len(SIZES), size)
        made = [_encode(vae, scenes[i : i + 50]) for i in range(0, len(scenes), 50)]
        texts = [spoken(s.thing, s.style, s.colour, rng) for s in scenes]
        ids = tokenizer(texts, padding="max_length", max_length=LENGTH).input_ids
        arrays[f"latents{index}"] = np.concatenate(made)
        arrays[f"ids{index}"] = np.array(ids, np.int16)
    part = path.with_suffix(".part.npz")
    np.savez(part, **arrays)
    part.replace(path)
    return path


def _encode(vae: AutoencoderKL, scenes) -> np.ndarray:
    with torch.autocast("cpu", torch.bfloat16):
        latents = vae.encode(pixels(scenes)).latent_dist.sample().float()
    return (latents * vae.config.scaling_factor).half().numpy()


def write(chunks: int, first: int = 0) -> None:
    """Write the chunks that are not there yet."""
    vae = AutoencoderKL.from_pretrained(work("vae")).eval()
    tokenizer = clip_tokenizer(work("clip"))
    torch.manual_seed(first)
    for number in range(first, chunks):
        if not work("latents", f"{number:03}.npz").exists():
            write_chunk(vae, tokenizer, number)
            print(f"latents chunk {number + 1} of {chunks}", flush=True)


class Shelf:
    """All latents in memory; picks batches of one size, some of their captions said in other words."""

    def __init__(self, tokenizer) -> None:
        self.rewording = Rewording(tokenizer)
        self.latents: list[list[np.ndarray]] = [[] for _ in SIZES]
        self.ids: list[list[np.ndarray]] = [[] for _ in SIZES]
        self.read: set[str] = set()
        self.refresh()

    def refresh(self) -> int:
        """Take in chunks written since; the number of chunks held."""
        for path in sorted(work("latents", "x").parent.glob("[0-9][0-9][0-9].npz")):
            if path.name not in self.read:
                with np.load(path) as chunk:
                    for index in range(len(SIZES)):
                        self.latents[index].append(chunk[f"latents{index}"])
                        self.ids[index].append(chunk[f"ids{index}"])
                self.read.add(path.name)
        return len(self.read)

    def batch(self, count: int, rng: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
        """(latents float32 (n, 8, h, w), token ids int64 (n, 32)) of one random size."""
        index = rng.randrange(len(SIZES))
        picks = [(rng.randrange(len(self.read)), rng.randrange(CHUNK // len(SIZES))) for _ in range(count)]
        latents = np.stack([self.latents[index][chunk][row] for chunk, row in picks])
        ids = np.stack([self.rewording(self.ids[index][chunk][row], rng) for chunk, row in picks])
        return torch.from_numpy(latents).float(), torch.from_numpy(ids.astype(np.int64))


def empty_ids(tokenizer) -> torch.Tensor:
    """Token ids (32,) of the empty caption."""
    ids = tokenizer(caption(None), padding="max_length", max_length=LENGTH).input_ids
    return torch.tensor(ids)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=16)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    write(arguments.chunks, arguments.first)
