"""Train the tiny CLIP: the judge of every picture here, and the zero-shot reader of thing, style and colour."""

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

from recipes.tiny import hands
from recipes.tiny.labels import (
    COLOURS,
    REDRAWN_STYLES,
    STYLES,
    THINGS,
    caption,
    colour_texts,
    spoken,
    style_texts,
    thing_texts,
)
from recipes.tiny.paths import work
from recipes.tiny.pool import Pool
from recipes.tiny.scenes import HELD_OUT, SIZES, Composer, Scene, background, place
from recipes.tiny.together import average_gradients, join_others, wait_for_first
from recipes.tiny.tokens import LENGTH, clip_tokenizer
from recipes.tiny.training import Both, load_state, rate, save_state, seed_step
from recipes.tiny.vary import bent
from recipes.tiny.wear import worn

SIDE = 64  # every picture is squashed to 64x64, whole: nothing off-centre is cropped away
SMOOTH = 0.02
UNNAMED = -100
# Twice as often what is hardest to read once it is worn: thin lines.
STUDIED = (*STYLES, "outline")
HAZED = 0.4  # share of pictures drawn over by the base, once there is one: see haze.py
OUTLINED = 0.25  # share of scenes of other sets with black contours drawn in: outlines by another hand
TRIPS = 0.1  # share of pictures drawn anew by the VAE, once there are hazed ones
OTHERS = 0.4  # share of scenes by other hands: see hands.py
REDRAWN = 0.3  # share of scenes in a redrawn style: a judge of four clean styles alone is lost between them


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


def squashed(picture: np.ndarray) -> np.ndarray:
    """What the processor does to uint8 (h, w, 3), up to its scaling: bicubic to 64x64."""
    if picture.shape[:2] == (SIDE, SIDE):
        return picture
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def inputs(pictures: Sequence[np.ndarray]) -> torch.Tensor:
    """pixel_values float32 (n, 3, 64, 64) in [-1, 1] of uint8 pictures of any size."""
    stacked = torch.from_numpy(np.stack([squashed(p) for p in pictures]))
    return stacked.permute(0, 3, 1, 2).float() / 127.5 - 1


class Reader:
    """The model with its tokenizer: embeds pictures and texts, unit length."""

    def __init__(self, model: CLIPModel, tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer

    @classmethod
    def load(cls, folder: Path) -> Reader:
        processor = CLIPProcessor.from_pretrained(folder)
        return cls(CLIPModel.from_pretrained(folder, dtype=torch.float32).eval(), processor.tokenizer)

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit embeddings (n, 128) of texts."""
        batch = self.tokenizer(list(texts), padding=True, return_tensors="pt")
        pooled = self.model.text_model(**batch).pooler_output
        return F.normalize(self.model.text_projection(pooled), dim=-1)

    def pictures(self, values: torch.Tensor) -> torch.Tensor:
        """Unit embeddings (n, 128) of pixel_values (n, 3, 64, 64)."""
        pooled = self.model.vision_model(values).pooler_output
        return F.normalize(self.model.visual_projection(pooled), dim=-1)

    def both(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit embeddings (n, 128) from the class token, and from the mean of the patches."""
        seen = self.model.vision_model(values)
        patches = self.model.vision_model.post_layernorm(seen.last_hidden_state[:, 1:]).mean(dim=1)
        project = self.model.visual_projection
        return F.normalize(project(seen.pooler_output), dim=-1), F.normalize(project(patches), dim=-1)

    @torch.no_grad()
    def judge(self, pictures: Sequence[np.ndarray]) -> list[tuple[str, str, str]]:
        """The (thing, style, colour) that zero-shot reads in each uint8 picture."""
        seen = torch.cat([self.pictures(inputs(pictures[i : i + 64])) for i in range(0, len(pictures), 64)])
        answers = []
        for names, texts in ((THINGS, thing_texts()), (STYLES, style_texts()), (COLOURS, colour_texts())):
            best = (seen @ self.texts(texts).T).argmax(dim=1).tolist()
            answers.append([list(names)[i] for i in best])
        return list(zip(*answers, strict=True))


def loss_of(reader: Reader, scenes: Sequence[Scene], values: torch.Tensor, rng: random.Random) -> torch.Tensor:
    """Contrastive loss on captions plus the three zero-shot losses that the judge is used for."""
    captions = [spoken(s.thing, s.style, s.colour, rng) for s in scenes]
    drawn = [*STYLES, *REDRAWN_STYLES]
    lists = thing_texts() + [caption(None, style) for style in drawn] + colour_texts()
    texts = reader.texts(captions + lists)
    seen, patches = reader.both(values)
    scale = reader.model.logit_scale.exp().clamp(max=60)
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
    for names, field in ((list(THINGS), "thing"), (drawn, "style"), (list(COLOURS), "colour")):
        # What has no name is no answer, and not counted.
        right = torch.tensor([names.index(said) if (said := getattr(s, field)) else UNNAMED for s in scenes])
        for table in (logits, logits_patches):
            part = table[:, start : start + len(names)]
            total = total + F.cross_entropy(part, right, label_smoothing=SMOOTH, ignore_index=UNNAMED)
        start += len(names)
    return total


def accuracy(reader: Reader, count: int = 600, wear: bool = False) -> dict[str, float]:
    """Shares of held-out scenes whose thing, style and colour are read right (all names compete)."""
    composer, right = Composer(HELD_OUT + 1), np.zeros(3)
    for size in SIZES:
        scenes = composer.batch(count // len(SIZES), size)
        pictures = [s.pixels for s in scenes]
        answers = reader.judge(worn(pictures, random.Random(1)) if wear else pictures)
        for scene, answer in zip(scenes, answers, strict=True):
            right += np.array(answer) == np.array((scene.thing, scene.style, scene.colour))
    return dict(zip(("thing", "style", "colour"), (right / (count // 3 * 3)).round(4).tolist(), strict=True))


def unseen_hand(reader: Reader, count: int = 8) -> float:
    """Share of things, drawn by a hand that nobody has learned from, that are read right; `count` scenes of each."""
    rng, right = random.Random(HELD_OUT + 2), []
    for thing, sprite in hands.unseen().items():
        grounds = [background(rng.choice(list(COLOURS.values())), SIZES[0], rng) for _ in range(count)]
        answers = reader.judge([place(sprite, ground, rng) for ground in grounds])
        right += [answer[0] == thing for answer in answers]
    return round(float(np.mean(right)), 4)


def train(steps: int, batch: int = 64, peak: float = 1.5e-3) -> None:
    """Train up to `steps` steps, from the last checkpoint if there is one; then write the folder `clip`.

    Under torchrun every process takes a batch of its own and the gradients are averaged.
    """
    rank = join_others()
    torch.manual_seed(1)
    tokenizer = clip_tokenizer(work("clip")) if rank == 0 else None
    wait_for_first()
    tokenizer = tokenizer or CLIPTokenizer.from_pretrained(work("clip"))
    model = build(len(tokenizer), tokenizer.eos_token_id)
    reader = Reader(model, tokenizer)
    optimizer, state = Both(model), work("clip.pt")
    pool, composer, total = Pool(), Composer(3000, STUDIED, REDRAWN, OUTLINED, OTHERS), 0.0
    for step in range(load_state(state, model=model, optimizer=optimizer), steps):
        composer.rng = seed_step(3000, step, rank)
        optimizer.set_rate(rate(step, steps, peak, warmup=200))
        hazed = pool.draw(round(HAZED * batch), composer.rng)
        scenes = composer.batch(batch - len(hazed))
        pictures = worn([s.pixels for s in scenes], composer.rng, TRIPS if hazed else 0.3)
        values = bent(inputs(pictures + [s.pixels for s in hazed]))
        scenes += hazed
        with torch.autocast("cpu", torch.bfloat16):
            loss = loss_of(reader, scenes, values, composer.rng)
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
        if (step + 1) % 500 == 0 or step + 1 == steps:
            save_state(state, step + 1, model=model, optimizer=optimizer)
    if not rank:
        finish(reader)


def finish(reader: Reader) -> None:
    """Save model and processor in one folder, and say how well it reads."""
    reader.model.eval()
    reader.model.save_pretrained(work("clip"))
    CLIPProcessor(image_processor(), reader.tokenizer).save_pretrained(work("clip"))
    print(f"clip held-out {accuracy(reader)} worn {accuracy(reader, 300, wear=True)}", flush=True)
    print(f"clip, a hand it has never seen: {unseen_hand(reader)}", flush=True)
    reader.model.train()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, required=True)
    train(parser.parse_args().steps)
