"""Three more drawing styles, made from the sets' own drawings: a pencil drawing, a sticker, a tinted contour.

A base that knows two styles knows "one or the other"; one that has seen contours of several kinds on every thing has
something from which a LoRA can put together a style that is new to it, as a real base model has.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

MARGIN = 4  # pixels around the sprite


def redrawn(sprite: Image.Image, style: str) -> Image.Image:
    """An RGBA sprite (about 64 pixels) in one of REDRAWN's styles."""
    return REDRAWN[style](padded(sprite))


def padded(sprite: Image.Image) -> Image.Image:
    """With room around it for what a contour adds outside."""
    wide = Image.new("RGBA", (sprite.width + 2 * MARGIN, sprite.height + 2 * MARGIN))
    wide.paste(sprite, (MARGIN, MARGIN))
    return wide


def pencil(sprite: Image.Image) -> Image.Image:
    """Dark gray lines over a pale, almost colourless fill."""
    colour, alpha = _parts(sprite)
    gray = colour.mean(axis=2, keepdims=True)
    fill = 255 - (255 - (0.85 * gray + 0.15 * colour)) * 0.3
    return _inked(fill, alpha, _lines(sprite, 3), np.full(3, 70.0))


def sticker(sprite: Image.Image) -> Image.Image:
    """A broad white border, as if cut out of paper."""
    colour, alpha = _parts(sprite)
    border = _grown(sprite, 7)
    paper = np.full_like(colour, 250)
    over = alpha[..., None]
    return _image(colour * over + paper * (1 - over), np.maximum(alpha, border))


def tinted(sprite: Image.Image) -> Image.Image:
    """The drawing's own colours, its contours in a darker shade of them."""
    colour, alpha = _parts(sprite)
    # Premultiplied, so that the blur takes no colour from outside the drawing.
    soft = np.stack([_blurred(colour[..., i] * alpha) for i in range(3)], axis=2)
    shade = soft / np.maximum(_blurred(alpha * 255)[..., None] / 255, 1e-3)
    return _inked(colour, alpha, _lines(sprite, 3), shade * 0.45)


def outlined(sprite: Image.Image) -> Image.Image:
    """Black contours round plain colours: another hand's drawing in OpenMoji's style, for the judge's eyes alone.

    Each set draws a thing in one way. A judge that knows outlines from one set takes its drawings for the things.
    """
    colour, alpha = _parts(sprite.filter(ImageFilter.MedianFilter(5)))
    alpha = np.minimum(alpha, _parts(sprite)[1])
    return _inked(colour, alpha, _lines(sprite, 3), np.full(3, 15.0))


REDRAWN = {"drawing": pencil, "icon": sticker, "illustration": tinted}


def _parts(sprite: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Colour (h, w, 3) in 0..255 and alpha (h, w) in 0..1."""
    values = np.asarray(sprite, np.float32)
    return values[..., :3], values[..., 3] / 255


def _image(colour: np.ndarray, alpha: np.ndarray) -> Image.Image:
    values = np.concatenate([colour, alpha[..., None] * 255], axis=2)
    return Image.fromarray((values + 0.5).clip(0, 255).astype(np.uint8), "RGBA")


def _blurred(values: np.ndarray, radius: float = 3) -> np.ndarray:
    image = Image.fromarray(values.clip(0, 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32)


def _grown(sprite: Image.Image, size: int) -> np.ndarray:
    """Alpha (h, w) in 0..1, grown by (size - 1) / 2 pixels, with a soft rim."""
    grown = sprite.getchannel("A").filter(ImageFilter.MaxFilter(size)).filter(ImageFilter.GaussianBlur(0.6))
    return np.asarray(grown, np.float32) / 255


def _lines(sprite: Image.Image, width: int) -> np.ndarray:
    """Strength (h, w) in 0..1 of the contour and of the edges between colours."""
    _, alpha = _parts(sprite)
    shrunk = np.asarray(sprite.getchannel("A").filter(ImageFilter.MinFilter(width)), np.float32) / 255
    contour = _grown(sprite, width) - shrunk * alpha
    # Colours over a middle gray, so that the drawing's rim itself is no edge here.
    over = Image.alpha_composite(Image.new("RGBA", sprite.size, (128, 128, 128, 255)), sprite).convert("L")
    values = np.asarray(over.filter(ImageFilter.GaussianBlur(0.7)), np.float32)
    down, right = np.gradient(values)
    edges = ((np.hypot(down, right) - 14) / 18).clip(0, 1) * shrunk
    return np.maximum(contour, edges).clip(0, 1)


def _inked(fill: np.ndarray, alpha: np.ndarray, lines: np.ndarray, ink: np.ndarray) -> Image.Image:
    """Lines in `ink` over the fill."""
    strength = lines[..., None]
    return _image(fill * (1 - strength) + ink * strength, np.maximum(alpha, lines))
