"""Scenes drawn over by the tiny base, image to image, so that CLIP knows its hand: soft, saturated, a bit wrong."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from lorakiln.diffusion.processes.ddpm import make_process
from recipes.tiny.captions import caption
from recipes.tiny.clip import EXTRA, OUTLINED, STUDIED, squash
from recipes.tiny.diffusion import load_pipeline
from recipes.tiny.scenes import Composer, Scene
from recipes.tiny.training import seed_step, to_pictures, to_tensor
from recipes.tiny.workspace import locate, write_arrays

# Timesteps of 1000 from which a picture is drawn anew. From those after STYLED its style is lost: the shape is what
# a LoRA gets wrong too, so that two batches in five are of that kind.
LOW, STYLED, HIGH = 60, 320, 480
DEEP = 0.4
BATCH = 64
CHUNK = 25 * BATCH  # pictures in a file
COUNT = 20 * CHUNK


def write_scenes(part: int = 0, parts: int = 1) -> None:
    """Write the chunks that are not there yet, or every `parts`-th of them from the `part`-th on."""
    composer, pipe = Composer(5000, STUDIED, outlined=OUTLINED, extra=EXTRA), load_pipeline(locate("sd"))
    for number in range(part, COUNT // CHUNK, parts):
        path = locate("generated", f"{number:03}.npz")
        if not path.exists():
            _write_chunk(path, composer, pipe, seed_step(5000, number))
            print(f"scenes drawn over: chunk {number + 1} of {COUNT // CHUNK}", flush=True)


def _write_chunk(path: Path, composer: Composer, pipe: StableDiffusionPipeline, rng: random.Random) -> None:
    composer.rng, pictures, labels = rng, [], []
    while len(pictures) < CHUNK:
        scenes = composer.sample_batch(BATCH)
        deep = rng.random() < DEEP
        start = rng.randint(STYLED, HIGH) if deep else rng.randint(LOW, STYLED)
        pictures += [squash(picture) for picture in draw_over(pipe, scenes, start, rng)]
        labels += [(s.thing, "" if deep else s.style, s.colour) for s in scenes]
    write_arrays(path, pictures=np.stack(pictures), labels=np.array(labels))


@torch.no_grad()
def draw_over(
    pipe: StableDiffusionPipeline, scenes: Sequence[Scene], start: int, rng: random.Random
) -> list[np.ndarray]:
    """uint8 pictures (h, w, 3) of scenes of one size, noised to the timestep `start` and drawn from there.

    The captions name thing, style and background; of a style that the base does not know, the line comes through.
    """
    steps, guidance = rng.randint(1, 4), rng.choice((1.0, 1.0, 1.0, 3.0))
    with torch.autocast("cpu", torch.bfloat16):
        x = pipe.vae.encode(to_tensor([s.pixels for s in scenes])).latent_dist.mode() * pipe.vae.config.scaling_factor
        prompts = [caption(s.thing, s.style, s.colour) for s in scenes]
        positive, negative = pipe.encode_prompt(prompts, "cpu", 1, guidance > 1)
        x = denoise(pipe, x.float(), positive, negative, start, steps, guidance)
        return to_pictures(pipe.vae.decode(x / pipe.vae.config.scaling_factor).sample.float())


def denoise(
    pipe: StableDiffusionPipeline,
    x_0: Tensor,
    positive: Tensor,
    negative: Tensor | None,
    start: int,
    steps: int,
    guidance: float,
) -> Tensor:
    """Latents (n, 8, h, w) noised to timestep `start` and denoised by DDIM (arXiv 2010.02502) in even steps.

    The pipeline's own image to image takes a share of the sampler's fixed steps; here the start is any timestep.
    """
    process = make_process(pipe.scheduler.config, "the recipe")
    alphas = process.alphas_cumprod
    times = np.linspace(start, 0, steps + 1).round().astype(int).tolist()
    x_t = process.add_noise(x_0, torch.randn_like(x_0), torch.tensor([start]))
    for now, then in zip(times[:-1], times[1:], strict=True):
        t = torch.full((len(x_t),), now)
        epsilon = pipe.unet(x_t, t, positive).sample.float()
        if guidance > 1:
            plain = pipe.unet(x_t, t, negative).sample.float()
            epsilon = plain + guidance * (epsilon - plain)
        x_0 = (x_t - (1 - alphas[now]).sqrt() * epsilon) / alphas[now].sqrt()
        if then:
            x_t = process.add_noise(x_0, epsilon, torch.tensor([then]))
    return x_0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    write_scenes(**vars(parser.parse_args()))
