"""Copy the trained parts to models/tiny as fp16 safetensors, with labels, measurements, a card, and what made them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file
from transformers import BlipForConditionalGeneration, CLIPModel

from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.hashing import hash_file
from lorakiln.artefacts.tensor_files import save_tensors
from recipes.tiny.captions import BASE_STYLES, COLOURS, STYLES, THINGS
from recipes.tiny.mascot import POSES
from recipes.tiny.sprites import DIGESTS
from recipes.tiny.workspace import MODELS, locate, read_training

LIMIT_MB = 40
CARD = Path(__file__).with_name("card.md")
TRAININGS = ("vae", "clip", "blip", "sd", "figures", "judge")
SHOWN_AS = {
    ("vae", "psnr"): "reconstruction PSNR",
    ("clip", "thing"): "right thing",
    ("clip", "style"): "right style",
    ("clip", "colour"): "right colour",
    ("blip", "thing"): "right thing named",
    ("blip", "colour"): "right background colour",
    ("sd", "thing"): "right thing",
    ("sd", "style"): "right style",
    ("sd", "colour"): "right colour",
}


def install(target: Path = MODELS, parts: tuple[str, ...] = ("sd", "clip", "blip")) -> float:
    """Write the parts that are trained in fp16; the total size in MB (10**6 bytes)."""
    target.mkdir(parents=True, exist_ok=True)
    for part in parts:
        if (locate(part) / ("config.json" if part != "sd" else "model_index.json")).exists():
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
    with replacing(target) as fresh:
        shutil.copytree(source, fresh, dirs_exist_ok=True)


def _install_part(part: str, target: Path) -> None:
    source = locate(part)
    with replacing(target) as fresh:
        shutil.copytree(source, fresh, dirs_exist_ok=True)
        if part == "sd":
            StableDiffusionPipeline.from_pretrained(source, torch_dtype=torch.float16).save_pretrained(fresh)
        else:
            network = CLIPModel if part == "clip" else BlipForConditionalGeneration
            network.from_pretrained(source, dtype=torch.float16).save_pretrained(fresh)
        for weights in fresh.rglob("*.safetensors"):
            _settle(weights)
        for config in fresh.rglob("*.json"):
            _forget_origin(config)


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
    save_tensors(weights, tensors, {"format": "pt"})


def write_card(folder: Path, size: float, hours: str = "five hours") -> None:
    """README.md: the template filled from metrics.json in the same folder; `size` in MB."""
    metrics = json.loads((folder / "metrics.json").read_text("utf-8"))
    found, bars = metrics["measured"], metrics["bars"]
    rows = [
        f"| {part} | {SHOWN_AS[part, name]} | {_show(name, found[part][name])} | >= {_show(name, bar)} |"
        for part in bars
        for name, bar in bars[part].items()
    ]
    missed = [(p, n) for p in bars for n, bar in bars[p].items() if found[p][n] < bar]
    verdict = "Every bar is met." if not missed else "Not met: " + ", ".join(f"{p} {n}" for p, n in missed) + "."
    text = CARD.read_text("utf-8").format(
        count=len(THINGS),
        size=size,
        styles=", ".join(STYLES),
        poses=", ".join(POSES),
        base=" and ".join(BASE_STYLES),
        style_count=len(STYLES),
        colour_count=len(COLOURS),
        pictures=found["sd"]["pictures"],
        steps=found["sd"]["steps"],
        guidance=found["sd"]["guidance"],
        unseen=_show("share", found["clip"]["unseen_hand"]),
        rows="\n".join(rows),
        verdict=verdict,
        things=", ".join(THINGS),
        colours=", ".join(COLOURS),
        hours=hours,
    )
    (folder / "README.md").write_text(text, "utf-8")


def _show(name: str, value: float) -> str:
    return f"{value:.1f} dB" if name == "psnr" else f"{100 * value:.1f}%"


def write_provenance(folder: Path) -> None:
    """provenance.json: the trainings, what was fetched, the recipe's source, and the weights installed.

    A training is null that ended before records were kept, and whose weights were taken over. No time and no host
    stand in it, so that the same recipe on the same kind of machine writes the same bytes.
    """
    sources = sorted([*Path(__file__).parent.glob("*.py"), CARD])
    record = {
        "trainings": {name: read_training(name) for name in TRAININGS},
        "fetched": {package: f"sha512-{digest}" for package, digest in sorted(DIGESTS.items())},
        "recipe": {source.name: hash_file(source) for source in sources},
        "installed": {str(f.relative_to(folder)): hash_file(f) for f in sorted(folder.rglob("*.safetensors"))},
    }
    (folder / "provenance.json").write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    print(f"installed {install():.1f} MB in {MODELS}")
