"""The diffusion training's data: scenes and figures, encoded once into one file of latents and captions per chunk."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL

from recipes.tiny import figures
from recipes.tiny.captions import BASE_STYLES, COLOURS, caption, sample_caption
from recipes.tiny.mascot import POSES
from recipes.tiny.scenes import SIZES, Composer, paint_background, paste
from recipes.tiny.sprites import SIDE, crop
from recipes.tiny.tokenizers import LENGTH, Rewording, write_clip_tokenizer
from recipes.tiny.training import to_tensor
from recipes.tiny.workspace import locate, write_arrays

CHUNK = 3000  # scenes in a file, a third of each size
DERIVED = 0.3  # share of them in a derived style


@dataclass(frozen=True)
class Captioned:
    """A picture, uint8 (h, w, 3), and its caption."""

    pixels: np.ndarray
    text: str


def compose_scenes(number: int, size: tuple[int, int], count: int) -> list[Captioned]:
    """Things of the emoji sets on coloured backgrounds."""
    seed = f"{number} {size}"
    composer, rng = Composer(seed, BASE_STYLES, DERIVED), random.Random(f"texts {seed}")
    scenes = composer.sample_batch(count, size)
    return [Captioned(s.pixels, sample_caption(s.thing, s.style, s.colour, rng)) for s in scenes]


def compose_figures(number: int, size: tuple[int, int], count: int) -> list[Captioned]:
    """Made-up creatures in named poses on coloured backgrounds."""
    rng, made = random.Random(f"figures {number} {size}"), []
    for _ in range(count):
        figure, pose, colour = figures.invent_figure(rng), rng.choice(POSES), rng.choice(list(COLOURS))
        sprite = crop(figures.draw_figure(figure, pose, rng), SIDE)
        picture = paste(sprite, paint_background(COLOURS[colour], size, rng), rng)
        made.append(Captioned(picture, figures.caption_figure(figure, pose, colour, rng)))
    return made


# kind of chunk -> what is in it
KINDS = {"things": compose_scenes, "figures": compose_figures}


@torch.no_grad()
def write_chunk(vae: AutoencoderKL, tokenizer, kind: str, number: int) -> None:
    """One npz: per size float16 latents (n, 8, h/4, w/4), scaled, and int16 token ids (n, 32)."""
    path, arrays = locate("latents", f"{kind}-{number:03}.npz"), {}
    if path.exists():
        return
    torch.manual_seed(number)
    for index, size in enumerate(SIZES):
        pictures = KINDS[kind](number, size, CHUNK // len(SIZES))
        made = [_encode(vae, pictures[i : i + 50]) for i in range(0, len(pictures), 50)]
        ids = tokenizer([one.text for one in pictures], padding="max_length", max_length=LENGTH).input_ids
        arrays[f"latents{index}"] = np.concatenate(made)
        arrays[f"ids{index}"] = np.array(ids, np.int16)
    write_arrays(path, **arrays)


def _encode(vae: AutoencoderKL, pictures: Sequence[Captioned]) -> np.ndarray:
    with torch.autocast("cpu", torch.bfloat16):
        latents = vae.encode(to_tensor([one.pixels for one in pictures])).latent_dist.sample().float()
    return (latents * vae.config.scaling_factor).half().numpy()


def write_latents(kind: str, chunks: int) -> None:
    """Write the chunks of one kind that are not there yet."""
    vae = AutoencoderKL.from_pretrained(locate("vae")).eval()
    tokenizer = write_clip_tokenizer(locate("clip"))
    for number in range(chunks):
        write_chunk(vae, tokenizer, kind, number)
        print(f"latents of {kind}: chunk {number + 1} of {chunks}", flush=True)


class LatentDataset:
    """All latents in memory; samples batches of one size, some of their captions said in other words.

    Args:
        figures: share of the pictures that are figures; the rest are things.
    """

    def __init__(self, tokenizer, figures: float = 0.0) -> None:
        self.rewording, self.figures = Rewording(tokenizer), figures
        self.latents, self.ids = {}, {}
        for kind in KINDS if figures else ("things",):
            chunks = [dict(np.load(file)) for file in sorted(locate("latents").glob(f"{kind}-*.npz"))]
            for index in range(len(SIZES)):
                self.latents[kind, index] = np.concatenate([chunk[f"latents{index}"] for chunk in chunks])
                self.ids[kind, index] = np.concatenate([chunk[f"ids{index}"] for chunk in chunks])

    def sample_batch(self, count: int, rng: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
        """(latents float32 (n, 8, h, w), token ids int64 (n, 32)) of one random size."""
        index, latents, ids = rng.randrange(len(SIZES)), [], []
        for _ in range(count):
            key = ("figures" if rng.random() < self.figures else "things", index)
            row = rng.randrange(len(self.latents[key]))
            latents.append(self.latents[key][row])
            ids.append(self.rewording(self.ids[key][row], rng))
        return torch.from_numpy(np.stack(latents)).float(), torch.from_numpy(np.stack(ids).astype(np.int64))


def tokenize_empty(tokenizer) -> torch.Tensor:
    """Token ids (32,) of the empty caption."""
    ids = tokenizer(caption(None), padding="max_length", max_length=LENGTH).input_ids
    return torch.tensor(ids)
