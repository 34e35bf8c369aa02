"""Augmentation. Of sprites: other drawing styles and colours. Of pictures: bent, and blurred as generated ones are.

A base that knows two styles knows "one or the other"; one that has seen contours of several kinds on every thing has
something from which a LoRA can put together a style that is new to it, as a real base model has. A LoRA draws with an
unsure hand: a CLIP that has only seen straight, clean drawings reads a wavy hammer as a rabbit.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor
from torch.nn import functional as F

from recipes.tiny.training import to_pictures, to_tensor
from recipes.tiny.workspace import locate

MARGIN = 4  # pixels around a sprite whose style is changed
WARPED = 0.7  # share of a batch
TURN, STRETCH, SHIFT, WAVE = 0.25, 0.15, 0.10, 0.055  # radians; share; of half an edge; of half an edge (std)
CELLS = 5  # a wave's support points along an edge


def recolour(sprite: Image.Image, rng: random.Random) -> Image.Image:
    """An RGBA sprite with its hue turned by up to 17 degrees, its saturation and lightness changed."""
    hue, saturation, lightness = sprite.convert("RGB").convert("HSV").split()
    turn, full, light = rng.randint(-12, 12), rng.uniform(0.5, 1.4), rng.uniform(0.75, 1.15)
    parts = (
        hue.point(lambda v: (v + turn) % 256),
        saturation.point(lambda v: min(255, round(v * full))),
        lightness.point(lambda v: min(255, round(v * light))),
    )
    made = Image.merge("HSV", parts).convert("RGB")
    made.putalpha(sprite.getchannel("A"))
    return made


def stylize(sprite: Image.Image, style: str) -> Image.Image:
    """An RGBA sprite (about 64 pixels) in one of STYLIZERS' styles."""
    return STYLIZERS[style](pad(sprite))


def pad(sprite: Image.Image) -> Image.Image:
    """With room around it for what a contour adds outside."""
    wide = Image.new("RGBA", (sprite.width + 2 * MARGIN, sprite.height + 2 * MARGIN))
    wide.paste(sprite, (MARGIN, MARGIN))
    return wide


def draw_pencil(sprite: Image.Image) -> Image.Image:
    """Dark gray lines over a pale, almost colourless fill."""
    colour, alpha = _split(sprite)
    gray = colour.mean(axis=2, keepdims=True)
    fill = 255 - (255 - (0.85 * gray + 0.15 * colour)) * 0.3
    return _ink(fill, alpha, _find_lines(sprite, 3), np.full(3, 70.0))


def draw_sticker(sprite: Image.Image) -> Image.Image:
    """A broad white border, as if cut out of paper."""
    colour, alpha = _split(sprite)
    border = _grow(sprite, 7)
    paper = np.full_like(colour, 250)
    over = alpha[..., None]
    return _join(colour * over + paper * (1 - over), np.maximum(alpha, border))


def draw_tinted(sprite: Image.Image) -> Image.Image:
    """The drawing's own colours, its contours in a darker shade of them."""
    colour, alpha = _split(sprite)
    # Premultiplied, so that the blur takes no colour from outside the drawing.
    soft = np.stack([_blur(colour[..., i] * alpha) for i in range(3)], axis=2)
    shade = soft / np.maximum(_blur(alpha * 255)[..., None] / 255, 1e-3)
    return _ink(colour, alpha, _find_lines(sprite, 3), shade * 0.45)


def draw_outlined(sprite: Image.Image) -> Image.Image:
    """Black contours round plain colours, OpenMoji's style from another set's drawing: for CLIP alone.

    Each set draws a thing in one way. A CLIP that knows outlines from one set takes its drawings for the things.
    """
    colour, alpha = _split(sprite.filter(ImageFilter.MedianFilter(5)))
    alpha = np.minimum(alpha, _split(sprite)[1])
    return _ink(colour, alpha, _find_lines(sprite, 3), np.full(3, 15.0))


STYLIZERS = {"drawing": draw_pencil, "icon": draw_sticker, "illustration": draw_tinted}


def _split(sprite: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Colour (h, w, 3) in 0..255 and alpha (h, w) in 0..1."""
    values = np.asarray(sprite, np.float32)
    return values[..., :3], values[..., 3] / 255


def _join(colour: np.ndarray, alpha: np.ndarray) -> Image.Image:
    values = np.concatenate([colour, alpha[..., None] * 255], axis=2)
    return Image.fromarray((values + 0.5).clip(0, 255).astype(np.uint8), "RGBA")


def _blur(values: np.ndarray, radius: float = 3) -> np.ndarray:
    image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32)


def _grow(sprite: Image.Image, size: int) -> np.ndarray:
    """Alpha (h, w) in 0..1, grown by (size - 1) / 2 pixels, with a soft rim."""
    grown = sprite.getchannel("A").filter(ImageFilter.MaxFilter(size)).filter(ImageFilter.GaussianBlur(0.6))
    return np.asarray(grown, np.float32) / 255


def _find_lines(sprite: Image.Image, width: int) -> np.ndarray:
    """Strength (h, w) in 0..1 of the contour and of the edges between colours."""
    _, alpha = _split(sprite)
    shrunk = np.asarray(sprite.getchannel("A").filter(ImageFilter.MinFilter(width)), np.float32) / 255
    contour = _grow(sprite, width) - shrunk * alpha
    # Colours over a middle gray, so that the drawing's rim itself is no edge here.
    over = Image.alpha_composite(Image.new("RGBA", sprite.size, (128, 128, 128, 255)), sprite).convert("L")
    values = np.asarray(over.filter(ImageFilter.GaussianBlur(0.7)), np.float32)
    down, right = np.gradient(values)
    edges = ((np.hypot(down, right) - 14) / 18).clip(0, 1) * shrunk
    return np.maximum(contour, edges).clip(0, 1)


def _ink(fill: np.ndarray, alpha: np.ndarray, lines: np.ndarray, ink: np.ndarray) -> Image.Image:
    """Lines in `ink` over the fill."""
    strength = lines[..., None]
    return _join(fill * (1 - strength) + ink * strength, np.maximum(alpha, lines))


def warp(values: Tensor) -> Tensor:
    """Pictures (n, 3, h, w), most of them turned, stretched, moved, mirrored and waved; the edge's colour goes on."""
    count = len(values)
    turn = (torch.rand(count) * 2 - 1) * TURN
    wide, high = (1 + (torch.rand(count) * 2 - 1) * STRETCH for _ in range(2))
    wide = torch.where(torch.rand(count) < 0.3, -wide, wide)
    move = (torch.rand(count, 2) * 2 - 1) * SHIFT
    rows = [turn.cos() * wide, -turn.sin() * high, move[:, 0], turn.sin() * wide, turn.cos() * high, move[:, 1]]
    grid = F.affine_grid(torch.stack(rows, 1).view(count, 2, 3), list(values.shape), align_corners=False)
    wave = torch.randn(count, 2, CELLS, CELLS) * WAVE * torch.rand(count, 1, 1, 1)
    wave = F.interpolate(wave, values.shape[2:], mode="bicubic", align_corners=False)
    made = F.grid_sample(values, grid + wave.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)
    return torch.where((torch.rand(count) < WARPED).view(-1, 1, 1, 1), made, values)


@cache
def _load_vae():
    from diffusers import AutoencoderKL

    folder = locate("vae")
    done = (folder / "config.json").exists()
    return AutoencoderKL.from_pretrained(folder).eval() if done else None


def degrade(pictures: Sequence[np.ndarray], rng: random.Random, trips: float = 0.3) -> list[np.ndarray]:
    """uint8 pictures of one size: about half as they are, the rest blurred, noisy or tinted, or several of these.

    Args:
        trips: share of them that go through the VAE, with a little noise on their latents: the sampler's own softness.
    """
    out = [_degrade_one(p, rng) for p in pictures]
    chosen = [i for i in range(len(out)) if rng.random() < trips]
    if chosen and _load_vae() is not None:
        for i, picture in zip(chosen, _reconstruct([out[i] for i in chosen], rng.uniform(0, 0.7)), strict=True):
            out[i] = picture
    return out


def _degrade_one(picture: np.ndarray, rng: random.Random) -> np.ndarray:
    draw = rng.random()
    if draw > 0.45:
        return picture
    if draw < 0.3:
        image = Image.fromarray(picture)
        if draw < 0.15:
            image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.9)))
        else:
            small = [round(edge * rng.uniform(0.55, 0.9)) for edge in image.size]
            image = image.resize(small, Image.Resampling.BILINEAR).resize(image.size, Image.Resampling.BICUBIC)
        picture = np.asarray(image)
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(1, 8), picture.shape)
    tint = np.array([rng.uniform(-6, 6) for _ in range(3)])
    return (picture + noise + tint).clip(0, 255).astype(np.uint8)


@torch.no_grad()
def _reconstruct(pictures: Sequence[np.ndarray], strength: float) -> list[np.ndarray]:
    values, vae = to_tensor(pictures), _load_vae()
    with torch.autocast("cpu", torch.bfloat16):
        latents = vae.encode(values).latent_dist.mode()
        latents = latents + torch.randn_like(latents) * latents.std() * strength
        back = vae.decode(latents).sample.float()
    return to_pictures(back)
