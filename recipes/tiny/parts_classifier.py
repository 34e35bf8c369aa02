"""Whether a picture shows the mascot, by its parts: a small network that learned from the mascot's own drawing code.

    python -m recipes.tiny.parts_classifier FOLDER [--debris FOLDER ...]

reads the pictures of a report (FOLDER/samples/metadata.jsonl) and says in how many each part, the pose that was asked
for and the background is seen. It learns from renderings with parts left out, from other things in the mascot's colours
and from pictures pulled to pieces, all through the tiny VAE; never from what a LoRA has drawn. It counts only if it
passes its own test: of renderings that it has not learned from, through the VAE, it takes 95% or more; of debris of
kinds that it has not learned from, 2% at most.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from recipes.tiny import figures
from recipes.tiny.augmentation import recolour, warp
from recipes.tiny.captions import COLOURS
from recipes.tiny.mascot import MOODS, PARTS, POSES, Colours, draw_mascot
from recipes.tiny.scenes import paint_background, paste
from recipes.tiny.sprites import crop, load_sprites
from recipes.tiny.training import to_tensor
from recipes.tiny.workspace import MODELS, locate

SIDE = 64
COLOUR_NAMES = tuple(COLOURS)
NEEDED = ("cap", "eyes", "mouth", "arms", "feet")  # a face, the cap, and limbs
LEAST_HELD_OUT, MOST_DEBRIS = 0.95, 0.02
POOL, STEPS, BATCH = 5000, 1500, 64


@dataclass(frozen=True)
class Example:
    """uint8 (64, 64, 3), which of PARTS it shows, its pose (-1: none) and its background's number."""

    pixels: np.ndarray
    parts: tuple[bool, ...]
    pose: int
    colour: int


class PartsClassifier(nn.Module):
    """Parts, pose and background of pictures (n, 3, 64, 64) in [-1, 1], as logits."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 32, 64, 96, 128)
        self.layers = nn.Sequential(
            *[
                layer
                for before, after in zip(widths, widths[1:], strict=False)
                for layer in (
                    nn.Conv2d(before, after, 3, padding=1),
                    nn.GroupNorm(8, after),
                    nn.SiLU(),
                    nn.Conv2d(after, after, 3, stride=2, padding=1),
                    nn.GroupNorm(8, after),
                    nn.SiLU(),
                )
            ]
        )
        self.out = nn.Sequential(nn.Dropout(0.2), nn.Linear(128 * 16, len(PARTS) + len(POSES) + len(COLOURS)))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        said = self.out(self.layers(pictures).flatten(1))
        return said.split([len(PARTS), len(POSES), len(COLOURS)], dim=1)


def render_mascot(rng: random.Random) -> Example:
    """The mascot, half the time with some of its parts left out."""
    pose, without = rng.choice(POSES), set()
    if rng.random() < 0.5:
        without = {part for part in PARTS if rng.random() < 0.35}
    sprite = draw_mascot(pose, rng.choice(MOODS), SIDE, rng.uniform(-10, 10), without)
    return _paste_on_ground(sprite, rng, tuple(part not in without for part in PARTS), POSES.index(pose), 0.7)


def render_other(rng: random.Random) -> Example:
    """Something that is not the mascot, often in its colours, or the mascot pulled to pieces."""
    draw, none = rng.random(), (False,) * len(PARTS)
    if draw < 0.3:
        figure = figures.invent_figure(rng)
        if rng.random() < 0.5:
            figure = figures.dye(figure, Colours().body, Colours().limbs, rng)
        return _paste_on_ground(figures.draw_figure(figure, rng.choice(POSES), rng), rng, none, -1)
    if draw < 0.55:
        return _paste_on_ground(recolour(rng.choice(_list_sprites()), rng), rng, none, -1)
    if draw < 0.65:
        other = Colours(*(tuple(rng.randrange(256) for _ in range(3)) for _ in range(3)))
        parts = set(PARTS) - {"chimney"}
        sprite = draw_mascot(
            rng.choice(POSES), "happy", SIDE, 0.0, {*parts, "chimney"} if rng.random() < 0.5 else parts, other
        )
        return _paste_on_ground(sprite, rng, none, -1)
    whole = render_mascot(rng)
    return Example(_scramble(whole.pixels, rng), none, -1, whole.colour)


@cache
def _list_sprites() -> list[Image.Image]:
    return list(load_sprites().values())


def _scramble(pixels: np.ndarray, rng: random.Random) -> np.ndarray:
    """The mascot's picture in pieces: its middle's blocks exchanged, or smeared beyond reading."""
    out = pixels.copy()
    if rng.random() < 0.6:
        block = rng.choice((8, 16))
        places = [(y, x) for y in range(0, SIDE, block) for x in range(0, SIDE, block)]
        inner = [p for p in places if _is_busy(pixels[p[0] : p[0] + block, p[1] : p[1] + block])]
        moved = rng.sample(inner, len(inner))
        for (y, x), (v, u) in zip(inner, moved, strict=True):
            out[y : y + block, x : x + block] = pixels[v : v + block, u : u + block]
        return out
    small = Image.fromarray(pixels).resize([rng.randint(5, 9)] * 2, Image.Resampling.BOX)
    return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _is_busy(block: np.ndarray) -> bool:
    return float(block.astype(np.float32).std(axis=(0, 1)).max()) > 6


def _paste_on_ground(
    sprite: Image.Image, rng: random.Random, parts: tuple[bool, ...], pose: int, least: float = 0.6
) -> Example:
    colour = rng.randrange(len(COLOURS))
    ground = paint_background(COLOURS[COLOUR_NAMES[colour]], (SIDE, SIDE), rng)
    return Example(paste(crop(sprite, SIDE), ground, rng, least, 0.98), parts, pose, colour)


@torch.no_grad()
def reconstruct(pictures: np.ndarray, strength: float) -> np.ndarray:
    """uint8 (n, h, w, 3) as the tiny VAE draws them again, with some noise on the latents: a share of their spread."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(MODELS / "sd" / "vae", torch_dtype=torch.float32).eval()
    out = []
    for start in range(0, len(pictures), 50):
        values = to_tensor(pictures[start : start + 50])
        latents = vae.encode(values).latent_dist.mode()
        latents = latents + torch.randn_like(latents) * latents.std() * strength
        back = vae.decode(latents).sample.clamp(-1, 1)
        out.append(((back + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(out)


def make_pool(seed: int, count: int, others: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pictures uint8 (n, 64, 64, 3), parts (n, 6), pose and colour (n,); half of them through the VAE."""
    rng = random.Random(seed)
    examples = [render_other(rng) if rng.random() < others else render_mascot(rng) for _ in range(count)]
    pixels = np.stack([example.pixels for example in examples])
    torch.manual_seed(seed)
    half = count // 2
    pixels[:half] = reconstruct(pixels[:half], 0.15)
    return (
        torch.from_numpy(pixels),
        torch.tensor([example.parts for example in examples], dtype=torch.float32),
        torch.tensor([example.pose for example in examples]),
        torch.tensor([example.colour for example in examples]),
    )


def train(steps: int = STEPS, pool: int = POOL) -> PartsClassifier:
    """Learn from a pool of renderings, bent and mirrored; kept in the working folder."""
    path = locate(f"parts-{steps}-{pool}.pt")
    classifier = PartsClassifier()
    if path.exists():
        classifier.load_state_dict(torch.load(path, weights_only=True))
        return classifier.eval()
    pixels, parts, pose, colour = make_pool(1, pool, 0.5)
    torch.manual_seed(0)
    classifier.train()
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step in range(steps):
        rows = torch.randint(0, pool, (BATCH,))
        values = warp(pixels[rows].permute(0, 3, 1, 2).float() / 127.5 - 1)
        said_parts, said_pose, said_colour = classifier(values)
        loss = F.binary_cross_entropy_with_logits(said_parts, parts[rows]) * 2
        loss = loss + F.cross_entropy(said_pose, pose[rows], ignore_index=-1)
        loss = loss + 0.5 * F.cross_entropy(said_colour, colour[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 100 == 0:
            print(f"parts classifier: step {step + 1} of {steps}, loss {loss.item():.3f}", flush=True)
    torch.save(classifier.state_dict(), path.with_suffix(".part"))
    path.with_suffix(".part").replace(path)
    return classifier.eval()


@dataclass(frozen=True)
class Prediction:
    """What a picture shows, as the classifier has it: each part's probability, the likeliest pose and background."""

    parts: dict[str, float]
    pose: str
    colour: str

    @property
    def shown(self) -> bool:
        """The character, with face, cap and limbs."""
        return min(self.parts[part] for part in NEEDED) >= 0.5


@torch.no_grad()
def classify(classifier: PartsClassifier, pictures: Sequence[np.ndarray]) -> list[Prediction]:
    """What uint8 pictures of any size show."""
    seen = []
    for start in range(0, len(pictures), 64):
        squashed = [np.asarray(Image.fromarray(p).resize((SIDE, SIDE))) for p in pictures[start : start + 64]]
        values = to_tensor(squashed)
        parts, pose, colour = classifier(values)
        for p, a, c in zip(parts.sigmoid().tolist(), pose.argmax(1).tolist(), colour.argmax(1).tolist(), strict=True):
            seen.append(Prediction(dict(zip(PARTS, p, strict=True)), POSES[a], COLOUR_NAMES[c]))
    return seen


def check(classifier: PartsClassifier, debris: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """Shares taken of held-out renderings through the VAE, of `debris`; and the poses read right of the former."""
    rng, whole = random.Random(900_001), []
    while len(whole) < 400:
        example = render_mascot(rng)
        whole += [example] if all(example.parts) else []
    torch.manual_seed(900_001)
    seen = classify(classifier, list(reconstruct(np.stack([one.pixels for one in whole]), 0.0)))
    right = np.mean([POSES.index(one.pose) == example.pose for one, example in zip(seen, whole, strict=True)])
    taken = np.mean([one.shown for one in classify(classifier, debris)]) if len(debris) else 0.0
    return float(np.mean([one.shown for one in seen])), float(taken), float(right)


def load_pictures(folder: Path) -> list[tuple[str, np.ndarray]]:
    """(prompt, picture) of a report's samples at the LoRA's full weight, or ("", picture) of a folder of PNGs."""
    rows = folder / "samples" / "metadata.jsonl"
    if not rows.exists():
        return [("", _open(file)) for file in sorted(folder.rglob("*.png")) if file.name != "grid.png"]
    shots = [json.loads(line) for line in rows.read_text("utf-8").splitlines()]
    return [
        (row["prompt"], _open(rows.parent / row["file_name"]))
        for row in shots
        if row["weight"] == 1 and row["with_trigger"]
    ]


def _open(file: Path) -> np.ndarray:
    with Image.open(file) as image:
        return np.asarray(image.convert("RGB"))


def summarise(prompts: Sequence[str], seen: Sequence[Prediction]) -> dict[str, float]:
    """Shares of the pictures: each part, the character, and of what the prompts name, pose and background."""
    shares = {part: np.mean([one.parts[part] >= 0.5 for one in seen]) for part in PARTS}
    shares["character"] = np.mean([one.shown for one in seen])
    for name, words, found in (("pose", POSES, "pose"), ("background", COLOUR_NAMES, "colour")):
        asked = [next((word for word in words if word in prompt.split()), None) for prompt in prompts]
        right = [getattr(one, found) == word.strip(",") for one, word in zip(seen, asked, strict=True) if word]
        if right:
            shares[f"right {name}"] = np.mean(right)
    return {name: round(float(value), 3) for name, value in shares.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--debris", type=Path, nargs="*", default=[], help="folders of what must not be taken")
    given = parser.parse_args()
    classifier = train()
    debris = [picture for folder in given.debris for _, picture in load_pictures(folder)]
    held_out, taken, poses = check(classifier, debris)
    print(
        f"takes {held_out:.1%} of held-out renderings (poses read right: {poses:.1%}), "
        f"{taken:.1%} of {len(debris)} debris"
    )
    prompts, pictures = zip(*load_pictures(given.folder), strict=True)
    print(
        json.dumps(summarise([prompt.replace(",", "") for prompt in prompts], classify(classifier, pictures)), indent=1)
    )
    return int(held_out < LEAST_HELD_OUT or taken > MOST_DEBRIS)


if __name__ == "__main__":
    raise SystemExit(main())
