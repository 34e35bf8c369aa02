"""What a LoRA file is: form, base model, ranks, alphas, norms, metadata, and the settings to go on with."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from lorakiln.lora_files.adapter import Adapter, Layer
from lorakiln.lora_files.base import base_version
from lorakiln.lora_files.lycoris import FULL_RANK
from lorakiln.lora_files.reading import read_lora
from lorakiln.tools.lowrank import singular

MODELS = {"sd_v1": "sd15", "sd_v2": "sd21", "sd_v2_v": "sd21_v", "sdxl": "sdxl"}
NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?(e[+-]?[0-9]+)?", re.ASCII)


def inspect(path: Path) -> dict[str, Any]:
    """Everything that a file says, as plain data.

    Raises:
        UserError: it is missing, damaged or no LoRA.
    """
    found = read_lora(path)
    adapter = found.adapter
    layers = [_layer(name, layer) for name, layer in sorted(adapter.layers.items())]
    base = adapter.metadata.get("ss_base_model_version") or base_version(adapter)
    return {
        "file": str(path),
        "form": found.form,
        "kinds": found.kinds,
        "base": base,
        "parts": dict(Counter(name.split(".")[0] for name in adapter.layers)),
        "ranks": _counted(layer.rank for layer in adapter.layers.values()),
        "alphas": _counted(layer.alpha for layer in adapter.layers.values()),
        "dtype": _counted(str(layer.down.dtype).removeprefix("torch.") for layer in adapter.layers.values()),
        "parameters": sum(layer.down.numel() + layer.up.numel() for layer in adapter.layers.values()),
        "norm": sum(layer["norm"] ** 2 for layer in layers) ** 0.5,
        "layers": layers,
        "metadata": {key: _value(text) for key, text in sorted(adapter.metadata.items())},
        "retrain": retrain(path, adapter, full=any(kind in FULL_RANK for kind in found.kinds.values())),
    }


def _layer(name: str, layer: Layer) -> dict[str, Any]:
    _, s, _ = singular(layer)
    total = float(s.square().sum())
    return {
        "name": name,
        "rank": layer.rank,
        "alpha": layer.alpha,
        "shape": [layer.up.shape[0], *layer.down.shape[1:]],
        "norm": total**0.5,
        # exp of the entropy of the energy's shares: how many of the rank's directions are in use
        "effective_rank": _effective(s.square() / total) if total else 0.0,
    }


def _effective(shares) -> float:
    shares = shares[shares > 0]
    return float((-(shares * shares.log()).sum()).exp())


def retrain(path: Path, adapter: Adapter, full: bool = False) -> list[str]:
    """The settings, as on the command line, with which training can go on from this file.

    Args:
        full: its changes are of full rank: the command is told that makes a LoRA to go on from.
    """
    if full:
        return [f"lorakiln convert {path} lora.safetensors --rank 32"]
    rank = Counter(layer.rank for layer in adapter.layers.values()).most_common(1)[0][0]
    alpha = Counter(layer.alpha for layer in adapter.layers.values()).most_common(1)[0][0]
    names = [name for name in adapter.layers if name.startswith("unet.")]
    wide = any(name.endswith(("proj_in", "ff.net.2")) for name in names)
    convolutions = any(".resnets." in name for name in names)
    targets = "locon" if convolutions else "kohya" if wide else "attention"
    settings = [
        f"train.adapter.init_from={path}",
        f"train.adapter.rank={rank}",
        f"train.adapter.alpha={alpha:g}",
        f"train.adapter.targets={targets}",
    ]
    said = adapter.metadata.get("ss_base_model_version")
    if model := MODELS.get(said) or MODELS.get(base_version(adapter)):
        settings.insert(0, f"model={model}")
    wanted = {"ss_unet_lr": "train.optimizer.lr", "ss_total_batch_size": "train.batch_size", "ss_seed": "train.seed"}
    for key, setting in wanted.items():
        value = adapter.metadata.get(key)
        # What stands there is run by whoever copies the command: numbers alone.
        if value and NUMBER.fullmatch(value):
            settings.append(f"{setting}={value}")
    return settings


def _counted(values) -> dict[str, int]:
    counts = Counter(values)
    return {
        (f"{value:g}" if isinstance(value, float) else str(value)): count for value, count in sorted(counts.items())
    }


def _value(text: str) -> Any:
    """Metadata is strings; what is JSON inside is shown as such."""
    if text[:1] in "{[":
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text
