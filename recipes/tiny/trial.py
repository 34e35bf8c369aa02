"""Try a LoRA on the tiny base with peft: is the demo's style learnable, how fast, and what does it cost?

Not a stage of the recipe: a quick check of a fresh base, before it is installed.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from PIL import Image, ImageOps

from recipes.tiny import clip
from recipes.tiny.demo_sets import STYLE_THINGS
from recipes.tiny.diffusion import draw, load_pipeline
from recipes.tiny.labels import COLOURS, STYLES, THINGS, caption
from recipes.tiny.measure import contact_sheet
from recipes.tiny.paths import DATA, work
from recipes.tiny.scenes import SIZES

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
WIDE = [*ATTENTION, "conv1", "conv2", "proj_in", "proj_out", "ff.net.0.proj", "ff.net.2"]


def pictures(folder: Path) -> list[tuple[str, np.ndarray, str | None]]:
    """(file stem, uint8 (h, w, 3) fitted to the nearest of SIZES, caption beside it or None)."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.suffix not in {".png", ".jpg", ".webp"}:
            continue
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
        ratio = image.width / image.height
        size = min(SIZES, key=lambda s: abs(np.log(s[0] / s[1] / ratio)))
        text = path.with_suffix(".txt")
        said = text.read_text("utf-8").strip() if text.exists() else None
        found.append((path.stem, np.asarray(ImageOps.fit(image, size, Image.Resampling.LANCZOS)), said))
    return found


def nearest_colour(picture: np.ndarray) -> str:
    """The colour word of the picture's most likely background: its median border pixel."""
    border = np.concatenate([picture[0], picture[:, 0], picture[:, -1]])
    middle = np.median(border, axis=0)
    return min(COLOURS, key=lambda name: np.abs(middle - np.array(COLOURS[name])).sum())


def encoded(pipe: StableDiffusionPipeline, folder: Path, word: str) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(scaled latents (8, h, w), text states (32, 128)) of each picture."""
    out = []
    for stem, picture, said in pictures(folder):
        text = said or caption(re.sub(r"\W", "", stem), word, nearest_colour(picture))
        values = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        latents = pipe.vae.encode(values).latent_dist.mode()[0] * pipe.vae.config.scaling_factor
        out.append((latents, pipe.encode_prompt(text, "cpu", 1, False)[0][0]))
    return out


def fit(pipe: StableDiffusionPipeline, data: list, settings: argparse.Namespace) -> float:
    """Train the adapter on batches of one size; seconds spent."""
    targets = WIDE if settings.wide else ATTENTION
    pipe.unet.requires_grad_(False)
    pipe.unet.add_adapter(LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=targets))
    weights = [p for p in pipe.unet.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=settings.lr, weight_decay=0.01)
    alphas, rng = pipe.scheduler.alphas_cumprod, random.Random(0)
    shapes = sorted({tuple(latents.shape) for latents, _ in data})
    groups = {shape: [pair for pair in data if tuple(pair[0].shape) == shape] for shape in shapes}
    torch.manual_seed(0)
    start = time.monotonic()
    for step in range(settings.steps):
        shape = rng.choices(shapes, [len(groups[s]) for s in shapes])[0]
        picks = rng.choices(groups[shape], k=4)
        latents, texts = (torch.stack(part) for part in zip(*picks, strict=True))
        times = torch.randint(0, 1000, (4,))
        kept, noise = alphas[times].view(-1, 1, 1, 1), torch.randn_like(latents)
        guess = pipe.unet(kept.sqrt() * latents + (1 - kept).sqrt() * noise, times, texts).sample
        loss = ((guess - noise) ** 2).mean()
        for group in optimizer.param_groups:
            group["lr"] = settings.lr * min(1, (step + 1) / 20) * (0.1 + 0.9 * (1 - step / settings.steps))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
    return time.monotonic() - start


def style_shares(pipe, reader: clip.Reader, word: str, guidance: float, sheet: Path) -> dict[str, float]:
    """On things that the LoRA has not seen: shares of the asked thing, colour, and of each style read."""
    rng, colours = random.Random(5), list(COLOURS)
    unseen = [thing for thing in THINGS if thing not in STYLE_THINGS][::2]
    wishes = [(thing, rng.choice(colours)) for thing in unseen]
    made = draw(pipe, [caption(t, word, c) for t, c in wishes], 900, guidance=guidance)
    answers = reader.judge(made)
    contact_sheet(made).save(sheet)
    shares = {f"style {s}": np.mean([a[1] == s for a in answers]) for s in STYLES}
    shares["thing"] = np.mean([a[0] == w[0] for a, w in zip(answers, wishes, strict=True)])
    shares["colour"] = np.mean([a[2] == w[1] for a, w in zip(answers, wishes, strict=True)])
    return {name: round(float(value), 3) for name, value in shares.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=work("draft"))
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--alpha", type=float, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--word", default="outline")
    parser.add_argument("--wide", action="store_true", help="convolutions and feed-forward layers too")
    parser.add_argument("--base", action="store_true", help="measure the base as well")
    settings = parser.parse_args()
    reader = clip.Reader.load(settings.folder / "clip")
    pipe = load_pipeline(settings.folder / "sd")
    if settings.base:
        print("base", style_shares(pipe, reader, settings.word, settings.guidance, work("trial_base.png")))
    with torch.no_grad():
        data = encoded(pipe, DATA / "demo_style", settings.word)
    seconds = fit(pipe, data, settings)
    shares = style_shares(pipe, reader, settings.word, settings.guidance, work("trial_lora.png"))
    print(vars(settings), f"{settings.steps / seconds:.1f} steps/s", shares, flush=True)


if __name__ == "__main__":
    main()
