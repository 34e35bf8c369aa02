"""Measure every part on held-out scenes against the bars; models/tiny is installed only when they are met."""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from lorakiln.evaluate.clip import Clip
from lorakiln.families import load_family
from lorakiln.families.protocol import Family
from lorakiln.sampling import DrawJob, draw
from lorakiln.schema.model import ModelSettings
from lorakiln.schema.strict_yaml import read_yaml
from recipes.tiny import blip, clip, vae
from recipes.tiny.captions import BASE_STYLES, COLOURS, QUESTIONS, THINGS, caption
from recipes.tiny.scenes import SIZES
from recipes.tiny.workspace import ROOT, locate

BARS = {
    "vae": {"psnr": 26.0},
    "clip": {"thing": 0.90, "style": 0.95, "colour": 0.95},
    "blip": {"thing": 0.85, "colour": 0.95},
    "sd": {"thing": 0.70, "style": 0.90, "colour": 0.90},
}
GUIDANCE, STEPS, BATCH = 3.0, 20, 32


def list_labels(count: int, seed: int = 77) -> list[tuple[str, str, str]]:
    """(thing, style, colour): every thing equally often, in the styles that the base knows."""
    rng, colours = random.Random(seed), list(COLOURS)
    things = [thing for _ in range(-(-count // len(THINGS))) for thing in THINGS][:count]
    return [(t, BASE_STYLES[i % 2], rng.choice(colours)) for i, t in enumerate(things)]


def load_base(folder: Path) -> Family:
    """A base of the tiny family, as the pipeline loads it."""
    return load_family(ModelSettings.model_validate(read_yaml(ROOT / "conf/model/tiny.yaml") | {"path": str(folder)}))


def measure_sd(folder: Path, reader: Clip, count: int, sheet: Path | None = None) -> dict:
    """Shares of generated pictures in which CLIP reads the thing, style and colour that were asked for."""
    base, asked = load_base(folder), list_labels(count)
    right, made, missed = np.zeros(3), [], []
    for index, (width, height) in enumerate(SIZES):
        part = asked[index :: len(SIZES)]
        jobs = [DrawJob(caption(*labels), 500 + index + i, width, height) for i, labels in enumerate(part)]
        pictures = [np.asarray(picture) for picture in draw(base, jobs, STEPS, GUIDANCE, batch_size=BATCH)]
        for labels, answer in zip(part, clip.read(reader, pictures), strict=True):
            right += np.array(labels) == np.array(answer)
            missed += [f"{labels[0]}>{answer[0]}"] if labels[0] != answer[0] else []
        made += pictures
    if sheet:
        make_contact_sheet(made).save(sheet)
    shares = dict(zip(QUESTIONS, (right / count).round(4).tolist(), strict=True))
    return shares | {"pictures": count, "guidance": GUIDANCE, "steps": STEPS, "missed": sorted(missed)}


def make_contact_sheet(pictures: list[np.ndarray], columns: int = 16, cell: int = 82) -> Image.Image:
    """Pictures of mixed sizes on one sheet, for the eye."""
    sheet = Image.new("RGB", (columns * cell, -(-len(pictures) // columns) * cell))
    for i, picture in enumerate(pictures):
        sheet.paste(Image.fromarray(picture), (i % columns * cell, i // columns * cell))
    return sheet


def measure(folder: Path, pictures: int = 384) -> dict:
    """All measurements of a folder that holds sd, clip and blip."""
    torch.manual_seed(0)
    reader = clip.load(folder / "clip")
    coder = AutoencoderKL.from_pretrained(folder / "sd" / "vae", torch_dtype=torch.float32).eval()
    return {
        "vae": {"psnr": round(vae.measure_psnr(coder, 192), 2)},
        "clip": clip.measure_accuracy(reader, 1500) | {"unseen_hand": clip.measure_unseen(reader)},
        "blip": blip.measure_accuracy(*blip.load(folder / "blip"), 1500),
        "sd": measure_sd(folder / "sd", reader, pictures, sheet=locate("sheet.png")),
    }


def list_shortfalls(found: dict) -> list[str]:
    """The bars that are missed, in words; empty when all are met."""
    return [
        f"{part}: {name} is {found[part][name]}, the bar is {bar}"
        for part, bars in BARS.items()
        for name, bar in bars.items()
        if found[part][name] < bar
    ]


def write_metrics(found: dict, folder: Path) -> None:
    """metrics.json beside the models."""
    (folder / "metrics.json").write_text(json.dumps({"measured": found, "bars": BARS}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=384)
    arguments = parser.parse_args()
    result = measure(arguments.folder, arguments.pictures)
    write_metrics(result, arguments.folder)
    print(json.dumps(result, indent=1), *list_shortfalls(result), sep="\n")
