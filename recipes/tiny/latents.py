"""Encode scenes once: the diffusion training then reads latents and captions from one file per chunk."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL

from recipes.tiny import figures
from recipes.tiny.labels import BASE_STYLES, COLOURS, caption, spoken
from recipes.tiny.paths import work, write_arrays
from recipes.tiny.scenes import SIZES, Composer, background, place
from recipes.tiny.sprites import SIDE, cropped
from recipes.tiny.tokens import LENGTH, clip_tokenizer
from recipes.tiny.training import pixels
from recipes.tiny.wording import Rewording

CHUNK = 3000  # scenes in a file, a third of each size
REDRAWN = 0.3  # share of them in a redrawn style


@dataclass(frozen=True)
class Told:
    """A picture, uint8 (h, w, 3), and its caption."""

    pixels: np.ndarray
    text: str


def tell_scenes(number: int, size: tuple[int, int], count: int) -> list[Told]:
    """Things of the emoji sets on coloured backgrounds."""
    seed = f"{number} {size}"
    composer, rng = Composer(seed, BASE_STYLES, REDRAWN), random.Random(f"texts {seed}")
    scenes = composer.batch(count, size)
    return [Told(s.pixels, spoken(s.thing, s.style, s.colour, rng)) for s in scenes]


def tell_figures(number: int, size: tuple[int, int], count: int) -> list[Told]:
    """Made-up creatures in named poses on coloured backgrounds."""
    rng, told = random.Random(f"figures {number} {size}"), []
    for _ in range(count):
        figure, pose, colour = figures.invent(rng), rng.choice(figures.POSES), rng.choice(list(COLOURS))
        sprite = cropped(figures.draw_figure(figure, pose, rng), SIDE)
        picture = place(sprite, background(COLOURS[colour], size, rng), rng)
        told.append(Told(picture, figures.describe(figure, pose, colour, rng)))
    return told


# kind of chunk -> what is in it
KINDS = {"things": tell_scenes, "figures": tell_figures}


@torch.no_grad()
def write_chunk(vae: AutoencoderKL, tokenizer, kind: str, number: int) -> None:
    """One npz: per size float16 latents (n, 8, h/4, w/4), scaled, and int16 token ids (n, 32)."""
    path, arrays = work("latents", f"{kind}-{number:03}.npz"), {}
    if path.exists():
        return
    torch.manual_seed(number)
    for index, size in enumerate(SIZES):
        told = KINDS[kind](number, size, CHUNK // len(SIZES))
        made = [_encode(vae, told[i : i + 50]) for i in range(0, len(told), 50)]
        ids = tokenizer([one.text for one in told], padding="max_length", max_length=LENGTH).input_ids
        arrays[f"latents{index}"] = np.concatenate(made)
        arrays[f"ids{index}"] = np.array(ids, np.int16)
    write_arrays(path, **arrays)


def _encode(vae: AutoencoderKL, told: Sequence[Told]) -> np.ndarray:
    with torch.autocast("cpu", torch.bfloat16):
        latents = vae.encode(pixels(told)).latent_dist.sample().float()
    return (latents * vae.config.scaling_factor).half().numpy()


def write(kind: str, chunks: int) -> None:
    """Write the chunks of one kind that are not there yet."""
    vae = AutoencoderKL.from_pretrained(work("vae")).eval()
    tokenizer = clip_tokenizer(work("clip"))
    for number in range(chunks):
        write_chunk(vae, tokenizer, kind, number)
        print(f"latents of {kind}: chunk {number + 1} of {chunks}", flush=True)


class Shelf:
    """All latents in memory; picks batches of one size, some of their captions said in other words.

    Args:
        figures: share of the pictures that are figures; the rest are things.
    """

    def __init__(self, tokenizer, figures: float = 0.0) -> None:
        self.rewording, self.figures = Rewording(tokenizer), figures
        self.latents, self.ids = {}, {}
        for kind in KINDS if figures else ("things",):
            chunks = [dict(np.load(file)) for file in sorted(work("latents").glob(f"{kind}-*.npz"))]
            for index in range(len(SIZES)):
                self.latents[kind, index] = np.concatenate([chunk[f"latents{index}"] for chunk in chunks])
                self.ids[kind, index] = np.concatenate([chunk[f"ids{index}"] for chunk in chunks])

    def batch(self, count: int, rng: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
        """(latents float32 (n, 8, h, w), token ids int64 (n, 32)) of one random size."""
        index, latents, ids = rng.randrange(len(SIZES)), [], []
        for _ in range(count):
            place = ("figures" if rng.random() < self.figures else "things", index)
            row = rng.randrange(len(self.latents[place]))
            latents.append(self.latents[place][row])
            ids.append(self.rewording(self.ids[place][row], rng))
        return torch.from_numpy(np.stack(latents)).float(), torch.from_numpy(np.stack(ids).astype(np.int64))


def empty_ids(tokenizer) -> torch.Tensor:
    """Token ids (32,) of the empty caption."""
    ids = tokenizer(caption(None), padding="max_length", max_length=LENGTH).input_ids
    return torch.tensor(ids)
