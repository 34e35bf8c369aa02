"""Train the tiny BLIP: a captioner that answers "a cat, flat style, blue background"."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessorPil,
    BlipProcessor,
    CLIPModel,
)

from recipes.tiny.augmentation import degrade
from recipes.tiny.captions import caption
from recipes.tiny.clip import SIDE, to_values
from recipes.tiny.scenes import HELD_OUT, SIZES, Composer, Scene
from recipes.tiny.tokenizers import LENGTH, write_bert_tokenizer
from recipes.tiny.training import MuonAndAdamW, compute_rate, load_state, save_state, seed_step
from recipes.tiny.workspace import locate

LIMIT = 24  # tokens that a caption may have
SAVE_EVERY = 500


def build(tokenizer) -> BlipForConditionalGeneration:
    """A fresh model: the CLIP's vision tower and a text decoder of two layers."""
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 192,
        "encoder_hidden_size": 192,
        "intermediate_size": 384,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": LENGTH,
        "label_smoothing": 0.0,
        "projection_dim": 128,
        **ids,
    }
    vision = {
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": SIDE,
        "patch_size": 8,
        "hidden_act": "quick_gelu",
    }
    model = BlipForConditionalGeneration(
        BlipConfig(text_config=text, vision_config=vision, projection_dim=128, image_text_hidden_size=128)
    )
    model.generation_config.update(**ids, max_new_tokens=LIMIT)
    return model


@torch.no_grad()
def adopt(model: BlipForConditionalGeneration, clip: CLIPModel) -> None:
    """Start BLIP's vision tower from CLIP's.

    CLIP normalises its embeddings before the first layer and BLIP does not: the average of that is folded in.
    """
    source, target = clip.vision_model, model.vision_model
    norm, old, new = source.pre_layrnorm, source.embeddings, target.embeddings
    scale = norm.weight / old(torch.randn(16, 3, SIDE, SIDE)).std(dim=-1).mean()
    new.patch_embedding.weight.copy_(old.patch_embedding.weight * scale.view(-1, 1, 1, 1))
    new.patch_embedding.bias.zero_()
    new.class_embedding.copy_((old.class_embedding * scale).view_as(new.class_embedding))
    new.position_embedding.copy_((old.position_embedding.weight * scale + norm.bias).unsqueeze(0))
    for ours, theirs in zip(target.encoder.layers, source.encoder.layers, strict=True):
        q, k, v = theirs.self_attn.q_proj, theirs.self_attn.k_proj, theirs.self_attn.v_proj
        ours.self_attn.qkv.weight.copy_(torch.cat([q.weight, k.weight, v.weight]))
        ours.self_attn.qkv.bias.copy_(torch.cat([q.bias, k.bias, v.bias]))
        ours.self_attn.projection.load_state_dict(theirs.self_attn.out_proj.state_dict())
        for part in ("mlp", "layer_norm1", "layer_norm2"):
            getattr(ours, part).load_state_dict(getattr(theirs, part).state_dict())
    target.post_layernorm.load_state_dict(source.post_layernorm.state_dict())


def image_processor() -> BlipImageProcessorPil:
    """The same squash to 64x64 as the CLIP's."""
    return BlipImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_mean=[0.5] * 3, image_std=[0.5] * 3)


def tokenize(tokenizer, scenes: Sequence[Scene]) -> torch.Tensor:
    """Token ids (n, length): [DEC], the caption, [SEP], padding."""
    texts = [caption(s.thing, s.style, s.colour) for s in scenes]
    ids = tokenizer(texts, padding=True, return_tensors="pt").input_ids
    ids[:, 0] = tokenizer.bos_token_id  # generation starts from [DEC], not from the tokenizer's [CLS]
    return ids


@torch.no_grad()
def write_captions(
    model: BlipForConditionalGeneration, processor: BlipProcessor, pictures: Sequence[np.ndarray]
) -> list[str]:
    """One caption per uint8 picture (h, w, 3) of any size, greedy."""
    said = []
    for start in range(0, len(pictures), 64):
        out = model.generate(pixel_values=to_values(pictures[start : start + 64]))
        said += processor.batch_decode(out, skip_special_tokens=True)
    return said


def measure_accuracy(
    model: BlipForConditionalGeneration, processor: BlipProcessor, count: int = 600
) -> dict[str, float]:
    """Shares of held-out scenes whose caption has the right thing, style, colour, and all of it to the letter."""
    composer, right = Composer(HELD_OUT + 2), np.zeros(4)
    for size in SIZES:
        scenes = composer.sample_batch(count // len(SIZES), size)
        for scene, said in zip(scenes, write_captions(model, processor, [s.pixels for s in scenes]), strict=True):
            want = caption(scene.thing, scene.style, scene.colour)
            parts = [a == b for a, b in zip(want.split(", "), said.split(", "), strict=False)]
            right += np.array([*parts, False, False, False][:3] + [want == said])
    names = ("thing", "style", "colour", "exact")
    return dict(zip(names, (right / (count // 3 * 3)).round(4).tolist(), strict=True))


def train(steps: int, batch: int = 48, peak: float = 1e-3) -> None:
    """Train up to `steps` steps, from the last checkpoint if there is one; then write the folder `blip`."""
    torch.manual_seed(4)
    tokenizer = write_bert_tokenizer(locate("blip"))
    model = build(tokenizer)
    adopt(model, CLIPModel.from_pretrained(locate("clip"), dtype=torch.float32))
    optimizer = MuonAndAdamW(model)
    state, composer, total = locate("blip.pt"), Composer(4000), 0.0
    model.train()
    for step in range(load_state(state, model=model, optimizer=optimizer), steps):
        composer.rng = seed_step(4000, step)
        optimizer.set_rate(compute_rate(step, steps, peak, warmup=200))
        scenes = composer.sample_batch(batch)
        values = to_values(degrade([s.pixels for s in scenes], composer.rng))
        ids = tokenize(tokenizer, scenes)
        asked = (ids != tokenizer.pad_token_id).long()
        with torch.autocast("cpu", torch.bfloat16):
            loss = model(
                pixel_values=values,
                input_ids=ids,
                attention_mask=asked,
                labels=ids.masked_fill(asked == 0, -100),
            ).loss
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.item()
        if (step + 1) % 100 == 0:
            print(f"blip step {step + 1} of {steps}, loss {total / 100:.4f}", flush=True)
            total = 0.0
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
            save_state(state, step + 1, model=model, optimizer=optimizer)
    finish(model, tokenizer)


def finish(model: BlipForConditionalGeneration, tokenizer) -> None:
    """Save model and processor in one folder, and say how well it captions."""
    model.eval()
    processor = BlipProcessor(image_processor(), tokenizer)
    model.save_pretrained(locate("blip"))
    processor.save_pretrained(locate("blip"))
    print(f"blip held-out {measure_accuracy(model, processor, 300)}", flush=True)
    model.train()


def load(folder: Path) -> tuple[BlipForConditionalGeneration, BlipProcessor]:
    """Model in float32 and processor, as anyone would load them."""
    model = BlipForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    return model, BlipProcessor.from_pretrained(folder)
