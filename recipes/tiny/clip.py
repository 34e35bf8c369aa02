"""Train the tiny CLIP, which reads thing, style and colour of every picture here, with no training for the question."""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, CLIPTokenizer

from lorakiln.evaluate.clip import Clip
from lorakiln.schema.model import Source
from recipes.tiny.augmentation import degrade, warp
from recipes.tiny.captions import COLOURS, DERIVED_STYLES, QUESTIONS, STYLES, caption, sample_caption
from recipes.tiny.scenes import HELD_OUT, SIZES, Composer, Scene, paint_background, paste
from recipes.tiny.sprites import render_unseen
from recipes.tiny.tokenizers import LENGTH, write_clip_tokenizer
from recipes.tiny.training import (
    MuonAndAdamW,
    average_gradients,
    compute_rate,
    join_processes,
    load_state,
    save_state,
    seed_step,
    to_tensor,
    wait_for_first,
)
from recipes.tiny.workspace import locate

SIDE = 64  # every picture is squashed to 64x64, whole: nothing off-centre is cropped away
SAVE_EVERY = 500
SMOOTH = 0.02
UNNAMED = -100
# Twice as often what is hardest to read in a degraded picture: thin lines.
STUDIED = (*STYLES, "outline")
GENERATED = 0.4  # share of pictures drawn over by the base, once there is one: see img2img.py
OUTLINED = 0.25  # share of scenes of other sets with black contours drawn in: outlines by another set
TRIPS = 0.1  # share of pictures that go through the VAE, once there are generated ones
EXTRA = 0.4  # share of scenes of further sets: see sprites.py
DERIVED = 0.3  # share of scenes in a derived style: a CLIP of four clean styles alone is lost between them


class GeneratedScenes:
    """Pictures drawn over by the base, uint8 (n, 64, 64, 3), and their labels; empty before there is a base."""

    def __init__(self) -> None:
        parts = [np.load(file) for file in sorted(locate("generated").glob("*.npz"))]
        self.labels = [tuple(row) for part in parts for row in part["labels"].tolist()]
        self.pictures = np.concatenate([part["pictures"] for part in parts]) if parts else np.empty((0, 64, 64, 3))

    def sample(self, count: int, rng: random.Random) -> list[Scene]:
        """`count` of them, or none if there are none."""
        chosen = rng.choices(range(len(self.labels)), k=count) if self.labels else []
        return [Scene(self.pictures[i], *self.labels[i]) for i in chosen]


def build(tokens: int, end: int) -> CLIPModel:
    """A fresh model: ViT of 4 layers on 8x8 patches, text of 2 causal layers."""
    text = {
        "vocab_size": tokens,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": LENGTH,
        "bos_token_id": end - 1,
        "eos_token_id": end,
        "pad_token_id": end,
        "projection_dim": 128,
    }
    vision = {
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": 8,
        "projection_dim": 128,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128))


def image_processor() -> CLIPImageProcessorPil:
    """Squash to 64x64 (no crop), scale to [-1, 1]."""
    return CLIPImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, do_center_crop=False, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )


def squash(picture: np.ndarray) -> np.ndarray:
    """What the processor does to uint8 (h, w, 3), up to its scaling: bicubic to 64x64."""
    if picture.shape[:2] == (SIDE, SIDE):
        return picture
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def to_values(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """pixel_values float32 (n, 3, 64, 64) in [-1, 1] of uint8 pictures of any size."""
    return to_tensor([squash(picture) for picture in pictures])


def load(folder: Path) -> Clip:
    """As the pipeline loads it."""
    return Clip.load(Source(path=str(folder)), torch.device("cpu"))


def read(clip: Clip, pictures: Sequence[np.ndarray], batch: int = 64) -> list[tuple[str, str, str]]:
    """The (thing, style, colour) that zero-shot reads in each uint8 picture."""
    images = [Image.fromarray(picture) for picture in pictures]
    seen = np.concatenate([clip.images(images[i : i + batch]) for i in range(0, len(images), batch)])
    answers = []
    for names in QUESTIONS.values():
        best = (seen @ clip.texts(list(names.values())).T).argmax(axis=1)
        answers.append([list(names)[i] for i in best])
    return list(zip(*answers, strict=True))


def embed_texts(model: CLIPModel, tokenizer, texts: Sequence[str]) -> torch.Tensor:
    """Unit embeddings (n, 128) of texts, to be learned from."""
    batch = tokenizer(list(texts), padding=True, return_tensors="pt")
    return F.normalize(model.text_projection(model.text_model(**batch).pooler_output), dim=-1)


def embed_pictures(model: CLIPModel, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit embeddings (n, 128) of pixel_values (n, 3, 64, 64): of the class token, and of the mean of the patches."""
    seen = model.vision_model(values)
    patches = model.vision_model.post_layernorm(seen.last_hidden_state[:, 1:]).mean(dim=1)
    project = model.visual_projection
    return F.normalize(project(seen.pooler_output), dim=-1), F.normalize(project(patches), dim=-1)


def compute_loss(
    model: CLIPModel, tokenizer, scenes: Sequence[Scene], values: torch.Tensor, rng: random.Random
) -> torch.Tensor:
    """Contrastive loss on captions plus the three zero-shot losses, for what this CLIP is asked."""
    captions = [sample_caption(s.thing, s.style, s.colour, rng) for s in scenes]
    derived = {style: caption(None, style) for style in DERIVED_STYLES}
    questions = QUESTIONS | {"style": QUESTIONS["style"] | derived}
    texts = embed_texts(model, tokenizer, captions + [text for names in questions.values() for text in names.values()])
    seen, patches = embed_pictures(model, values)
    scale = model.logit_scale.exp().clamp(max=60)
    logits = scale * (seen @ texts.T).float()
    # The mean of the patches must answer too: it teaches every patch at once, and a small ViT learns far sooner.
    logits_patches = scale * (patches @ texts.T).float()
    count = len(scenes)
    # Equal captions in one batch are all right answers, so the targets are shared between them.
    same = torch.tensor([[float(a == b) for b in captions] for a in captions])
    pairs = logits[:, :count]
    total = 0.5 * (
        F.cross_entropy(pairs, same / same.sum(1, keepdim=True))
        + F.cross_entropy(pairs.T, same / same.sum(1, keepdim=True))
    )
    start = count
    for field, names in questions.items():
        # What has no name is no answer, and not counted.
        index = {name: number for number, name in enumerate(names)}
        right = torch.tensor([index[said] if (said := getattr(s, field)) else UNNAMED for s in scenes])
        for table in (logits, logits_patches):
            part = table[:, start : start + len(names)]
            total = total + F.cross_entropy(part, right, label_smoothing=SMOOTH, ignore_index=UNNAMED)
        start += len(names)
    return total


def measure_accuracy(clip: Clip, count: int = 600, degraded: bool = False) -> dict[str, float]:
    """Shares of held-out scenes whose thing, style and colour are read right (all names compete)."""
    composer, right = Composer(HELD_OUT + 1), np.zeros(3)
    for size in SIZES:
        scenes = composer.sample_batch(count // len(SIZES), size)
        pictures = [s.pixels for s in scenes]
        answers = read(clip, degrade(pictures, random.Random(1)) if degraded else pictures)
        for scene, answer in zip(scenes, answers, strict=True):
            right += np.array(answer) == np.array((scene.thing, scene.style, scene.colour))
    return dict(zip(QUESTIONS, (right / (count // 3 * 3)).round(4).tolist(), strict=True))


def measure_unseen(clip: Clip, count: int = 8) -> float:
    """Share of things, from a set that nothing has learned from, that are read right; `count` scenes of each."""
    rng, right = random.Random(HELD_OUT + 2), []
    for thing, sprite in render_unseen().items():
        grounds = [paint_background(rng.choice(list(COLOURS.values())), SIZES[0], rng) for _ in range(count)]
        answers = read(clip, [paste(sprite, ground, rng) for ground in grounds])
        right += [answer[0] == thing for answer in answers]
    return round(float(np.mean(right)), 4)


def train(steps: int, batch: int = 64, peak: float = 1.5e-3) -> None:
    """Train up to `steps` steps, from the last checkpoint if there is one; then write the folder `clip`.

    Under torchrun every process takes a batch of its own and the gradients are averaged.
    """
    rank = join_processes()
    torch.manual_seed(1)
    tokenizer = write_clip_tokenizer(locate("clip")) if rank == 0 else None
    wait_for_first()
    tokenizer = tokenizer or CLIPTokenizer.from_pretrained(locate("clip"))
    model = build(len(tokenizer), tokenizer.eos_token_id)
    optimizer, state = MuonAndAdamW(model), locate("clip.pt")
    pool, composer, total = GeneratedScenes(), Composer(3000, STUDIED, DERIVED, OUTLINED, EXTRA), 0.0
    for step in range(load_state(state, model=model, optimizer=optimizer), steps):
        composer.rng = seed_step(3000, step, rank)
        optimizer.set_rate(compute_rate(step, steps, peak, warmup=200))
        generated = pool.sample(round(GENERATED * batch), composer.rng)
        scenes = composer.sample_batch(batch - len(generated))
        pictures = degrade([s.pixels for s in scenes], composer.rng, TRIPS if generated else 0.3)
        values = warp(to_values(pictures + [s.pixels for s in generated]))
        scenes += generated
        with torch.autocast("cpu", torch.bfloat16):
            loss = compute_loss(model, tokenizer, scenes, values, composer.rng)
        model.zero_grad()
        loss.backward()
        average_gradients(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.item()
        if rank:
            continue
        if (step + 1) % 100 == 0:
            print(f"clip step {step + 1} of {steps}, loss {total / 100:.3f}", flush=True)
            total = 0.0
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            save_state(state, step + 1, model=model, optimizer=optimizer)
    if not rank:
        finish(model, tokenizer)


def finish(model: CLIPModel, tokenizer) -> None:
    """Save model and processor in one folder, and say how well it reads."""
    model.eval()
    model.save_pretrained(locate("clip"))
    CLIPProcessor(image_processor(), tokenizer).save_pretrained(locate("clip"))
    clip = Clip(model, tokenizer, image_processor(), torch.device("cpu"))
    print(f"clip held-out {measure_accuracy(clip)} degraded {measure_accuracy(clip, 300, degraded=True)}", flush=True)
    print(f"clip, a set it has never seen: {measure_unseen(clip)}", flush=True)
    model.train()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, required=True)
    train(parser.parse_args().steps)
