"""Haze: scenes drawn over by the tiny base itself, so that the judge knows its hand: soft, saturated, a bit wrong."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline

from recipes.tiny.clip import OTHERS, OUTLINED, STUDIED, squashed
from recipes.tiny.diffusion import load_pipeline
from recipes.tiny.labels import caption
from recipes.tiny.paths import work, write_arrays
from recipes.tiny.scenes import Composer, Scene
from recipes.tiny.training import seed_step

# Timesteps of 1000 from which a picture is drawn anew. From those after STYLED its style is lost: the shape is what
# a LoRA gets wrong too, so that two batches in five are of that kind.
LOW, STYLED, HIGH = 60, 320, 480
DEEP = 0.4
BATCH = 64
CHUNK = 25 * BATCH  # pictures in a file
POOL = 20 * CHUNK


def write(part: int = 0, parts: int = 1) -> None:
    """Write the chunks of the pool that are not there yet, or every `parts`-th of them from the `part`-th on."""
    composer, pipe = Composer(5000, STUDIED, outlined=OUTLINED, others=OTHERS), load_pipeline(work("sd"))
    for number in range(part, POOL // CHUNK, parts):
        path = work("haze", f"{number:03}.npz")
        if not path.exists():
            _write_chunk(path, composer, pipe, seed_step(5000, number))
            print(f"haze chunk {number + 1} of {POOL // CHUNK}", flush=True)


def _write_chunk(path: Path, composer: Composer, pipe: StableDiffusionPipeline, rng: random.Random) -> None:
    composer.rng, pictures, labels = rng, [], []
    while len(pictures) < CHUNK:
        scenes = composer.batch(BATCH)
        deep = rng.random() < DEEP
        start = rng.randint(STYLED, HIGH) if deep else rng.randint(LOW, STYLED)
        pictures += [squashed(picture) for picture in hazed(pipe, scenes, start, rng)]
        labels += [(s.thing, "" if deep else s.style, s.colour) for s in scenes]
    write_arrays(path, pictures=np.stack(pictures), labels=np.array(labels))


@torch.no_grad()
def hazed(pipe: StableDiffusionPipeline, scenes: Sequence[Scene], start: int, rng: random.Random) -> list[np.ndarray]:
    """uint8 pictures (h, w, 3) of scenes of one size, noised to the timestep `start` and drawn from there.

    The captions name thing, style and background; of a style that the base does not know, the line comes through.
    """
    steps, guidance = rng.randint(1, 4), rng.choice((1.0, 1.0, 1.0, 3.0))
    with torch.autocast("cpu", torch.bfloat16):
        values = torch.from_numpy(np.stack([s.pixels for s in scenes])).permute(0, 3, 1, 2).float() / 127.5 - 1
        x = pipe.vae.encode(values).latent_dist.mode() * pipe.vae.config.scaling_factor
        prompts = [caption(s.thing, s.style, s.colour) for s in scenes]
        told, empty = pipe.encode_prompt(prompts, "cpu", 1, guidance > 1)
        x = _drawn(pipe, x.float(), told, empty, start, steps, guidance)
        back = pipe.vae.decode(x / pipe.vae.config.scaling_factor).sample.float()
    return list(((back.clamp(-1, 1) + 1) * 127.5).byte().permute(0, 2, 3, 1).numpy())


def _drawn(pipe, x, told, empty, start: int, steps: int, guidance: float) -> torch.Tensor:
    """x_0 of latents noised to timestep `start`, in DDIM steps evenly spaced."""
    alphas = DDIMScheduler.from_config(pipe.scheduler.config).alphas_cumprod
    times = np.linspace(start, 0, steps + 1).round().astype(int)
    kept = alphas[times[0]]
    x = kept.sqrt() * x + (1 - kept).sqrt() * torch.randn_like(x)
    for now, then in zip(times[:-1], times[1:], strict=True):
        t = torch.full((len(x),), int(now))
        noise = pipe.unet(x, t, told).sample.float()
        if guidance > 1:
            plain = pipe.unet(x, t, empty).sample.float()
            noise = plain + guidance * (noise - plain)
        clean = (x - (1 - alphas[now]).sqrt() * noise) / alphas[now].sqrt()
        if then == 0:
            return clean
        x = alphas[then].sqrt() * clean + (1 - alphas[then]).sqrt() * noise
    return clean


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=int, default=0)
    parser.add_argument("--parts", type=int, default=1)
    write(**vars(parser.parse_args()))
