"""Copy the trained parts to models/tiny as fp16 safetensors, with labels, measurements and README."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from transformers import BlipForConditionalGeneration, CLIPModel

from recipes.tiny.labels import BASE_STYLES, COLOURS, STYLES, THINGS
from recipes.tiny.paths import MODELS, work

LIMIT_MB = 40


def install(target: Path = MODELS, parts: tuple[str, ...] = ("sd", "clip", "blip")) -> float:
    """Write the parts that are trained in fp16; the total size in MB (10**6 bytes)."""
    target.mkdir(parents=True, exist_ok=True)
    for part in parts:
        if work(part, "x").parent.joinpath("config.json" if part != "sd" else "model_index.json").exists():
            _install_part(part, target / part)
    labels = {
        "things": list(THINGS),
        "styles": list(STYLES),
        "colours": list(COLOURS),
        "base_styles": list(BASE_STYLES),
    }
    (target / "labels.json").write_text(json.dumps(labels, indent=1) + "\n", "utf-8")
    size = sum(f.stat().st_size for f in target.rglob("*") if f.is_file()) / 1e6
    if size > LIMIT_MB:
        raise RuntimeError(f"{target} holds {size:.1f} MB; the limit is {LIMIT_MB}")
    return size


def replace(source: Path, target: Path) -> None:
    """Put a measured folder in the place of the installed one."""
    fresh = target.with_name(target.name + ".part")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(source, fresh)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def _install_part(part: str, target: Path) -> None:
    source = work(part)
    fresh = target.with_name(part + ".part")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(source, fresh)
    if part == "sd":
        StableDiffusionPipeline.from_pretrained(source, torch_dtype=torch.float16).save_pretrained(fresh)
    else:
        kind = CLIPModel if part == "clip" else BlipForConditionalGeneration
        kind.from_pretrained(source, dtype=torch.float16).save_pretrained(fresh)
    for weights in fresh.rglob("*.safetensors"):
        _settle(weights)
    for config in fresh.rglob("*.json"):
        _forget_origin(config)
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)


def _forget_origin(config: Path) -> None:
    """Leave out where the parts were loaded from: a path of the machine that made them."""
    content = json.loads(config.read_text("utf-8"))
    if isinstance(content, dict) and content.pop("_name_or_path", None) is not None:
        config.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def _settle(weights: Path) -> None:
    """Rewrite one file with sorted names and one metadata key: equal weights then give equal bytes."""
    tensors = load_file(weights)
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise RuntimeError(f"{weights}: {name} is not finite in fp16")
    save_file(dict(sorted(tensors.items())), weights, metadata={"format": "pt"})


if __name__ == "__main__":
    print(f"installed {install():.1f} MB in {MODELS}")
