"""Pictures as the page holds them: small copies inside the HTML."""

import base64
import io
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from lorakiln.artefacts.pictures import read_picture, read_prompt
from lorakiln.evaluate.shots import ShotPlan
from lorakiln.facts.dataset import DatasetFacts
from lorakiln.metrics import Shot, format_weight
from lorakiln.rows import read_captioned

_SIDE = 256
# Up to this side a picture is kept pixel for pixel and shown enlarged.
_SMALL = 128
_MOST_DATA, _MOST_GALLERY, _MOST_STEPS, _MOST_SAMPLES = 48, 24, 8, 4


@dataclass(frozen=True)
class Picture:
    """A picture inside the page; `small`: shown with its pixels visible."""

    uri: str
    alt: str
    width: int
    height: int
    small: bool


def describe_shot(shot: Shot) -> str:
    """What is told in the place of a picture: how it was drawn, by which alone it differs from those beside it."""
    by = f"LoRA at {format_weight(shot.weight)}" if shot.weight else "base"
    return f"{by}, seed {shot.seed}: {shot.text or '(empty prompt)'}"


def make_data_uri(path: Path, alt: str) -> Picture:
    """A WebP data URI at most 256 pixels long on a side; small pictures lossless, others quality 85."""
    picture = read_picture(path)
    small = max(picture.size) <= _SMALL
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", **({"lossless": True} if small else {"quality": 85}), method=4)
    code = base64.b64encode(buffer.getvalue()).decode()
    return Picture(f"data:image/webp;base64,{code}", alt, *picture.size, small)


def collect_training_pictures(captioned: Path) -> dict[str, Any]:
    """The dataset for the page: its name, counts, buckets, and the first pictures with their captions."""
    rows = sorted((row for row in read_captioned(captioned) if not row.is_reg), key=lambda row: row.file_name)
    dataset = DatasetFacts.read(captioned / "dataset.json")
    shown = [
        {
            "picture": make_data_uri(captioned / row.file_name, row.text),
            "text": row.text,
            "name": row.file_name,
            "source": row.caption_source,
            "bucket": row.bucket,
        }
        for row in rows[:_MOST_DATA]
    ]
    buckets = sorted(Counter(row.bucket for row in rows).items(), key=lambda item: (-item[1], item[0]))
    sources = sorted(Counter(row.caption_source for row in rows).items())
    return {
        "name": dataset.name,
        "count": len(rows),
        "buckets": buckets,
        "sources": sources,
        "shown": shown,
    }


def collect_training_samples(folder: Path) -> dict[str, Any]:
    """Pictures drawn while training: steps as columns, files of one name as rows; no rows if none were drawn."""
    steps = sorted(path for path in folder.glob("step-*") if path.is_dir())
    steps = _spread(steps, _MOST_STEPS)
    names = sorted({path.name for step in steps for path in step.glob("*.png")})[:_MOST_SAMPLES]
    rows = []
    for name in names:
        label = next(_prompt_of(step / name) for step in reversed(steps) if (step / name).exists())
        cells = [
            make_data_uri(step / name, f"step {_number(step)}: {label}") if (step / name).exists() else None
            for step in steps
        ]
        rows.append({"label": label, "cells": cells})
    return {"steps": [_number(step) for step in steps], "rows": rows}


def make_gallery(plan: ShotPlan, samples: Path) -> list[dict[str, Any]]:
    """Prompts that no grid shows: base and LoRA from the first seed."""
    rest = plan.prompts[len(plan.grid_prompts) :][:_MOST_GALLERY]
    shots = {
        (shot.prompt.index, shot.weight): shot
        for shot in plan.shots
        if shot.seed == plan.seeds[0] and shot.with_trigger
    }
    pairs = []
    for prompt in rest:
        drawn = [shots[prompt.index, weight] for weight in (0.0, plan.main)]
        base, lora = (make_data_uri(samples / shot.file_name, describe_shot(shot)) for shot in drawn)
        pairs.append({"text": prompt.text, "base": base, "lora": lora})
    return pairs


def _spread(items: list[Path], most: int) -> list[Path]:
    """At most `most` of the items, evenly, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(n * (len(items) - 1) / (most - 1))] for n in range(most)]


def _number(folder: Path) -> int:
    return int(folder.name.removeprefix("step-"))


def _prompt_of(path: Path) -> str:
    """The prompt in a picture's A1111 text, or its file name."""
    return re.sub(r"<lora:[^>]*>", "", read_prompt(path)).strip() or path.stem
