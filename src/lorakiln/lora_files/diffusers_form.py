"""LoRA files as diffusers and peft write them: "unet.<module>.lora_A.weight", ".lora_B.weight".

Ranks and alphas are in the metadata key `lora_adapter_metadata`, a JSON object of peft's LoraConfig with the part
in front of each name ("unet.r", "unet.lora_alpha", ...), as diffusers' `save_lora_adapter` writes it. Other
programs than a recent diffusers read none of that and take alpha for the rank, so that what is written for them is
folded (`fitting.fitted`). A run keeps its own adapters as they were trained.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from lorakiln.artefacts.tensors import load_tensors, save_tensors
from lorakiln.console.errors import UserError
from lorakiln.families.kinds import adapted_parts
from lorakiln.lora_files.adapter import Adapter
from lorakiln.lora_files.alphas import alpha_of, read_config
from lorakiln.lora_files.checks import layer_of
from lorakiln.lora_files.finite import check_finite

METADATA = "lora_adapter_metadata"
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


def peft_classes() -> dict[str, dict[str, str]]:
    """peft's `auto_mapping` by part: the class of the network that an adapter folder is for. Nothing else in it tells
    the part.
    """
    return {
        part: {"parent_library": library, "base_model_class": name} for part, (library, name) in adapted_parts().items()
    }


def save(adapter: Adapter, path: Path) -> None:
    """Write `adapter` as it is; its own metadata strings go along.

    Raises:
        UserError: a weight is not finite, or the disk is full.
    """
    tensors = {}
    for name, layer in adapter.layers.items():
        check_finite(layer.down, layer.up, where=f"{path}: {name}")
        tensors |= {name + DOWN: layer.down, name + UP: layer.up}
    config = json.dumps(_config(adapter), indent=2, sort_keys=True)
    save_tensors(path, tensors, {"format": "pt", **adapter.metadata, METADATA: config})


def peft_config(adapter: Adapter, part: str) -> dict[str, Any]:
    """What peft's LoraConfig needs to know of one part's layers, ranks and alphas that differ as patterns."""
    # Without "text_model.": peft compares endings, and transformers 5 has text encoders with and without that level.
    layers = {
        name.removeprefix(f"{part}.").removeprefix("text_model."): layer
        for name, layer in sorted(adapter.layers.items())
        if name.startswith(f"{part}.")
    }
    rank = Counter(layer.rank for layer in layers.values()).most_common(1)[0][0]
    alpha = Counter(layer.alpha for layer in layers.values()).most_common(1)[0][0]
    return {
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": sorted(layers),
        "rank_pattern": {name: layer.rank for name, layer in layers.items() if layer.rank != rank},
        "alpha_pattern": {name: layer.alpha for name, layer in layers.items() if layer.alpha != alpha},
        "lora_dropout": 0.0,
        "bias": "none",
        "use_dora": False,
        "use_rslora": False,
        "peft_type": "LORA",
    }


def _config(adapter: Adapter) -> dict[str, Any]:
    parts = sorted({name.split(".")[0] for name in adapter.layers})
    return {f"{part}.{key}": value for part in parts for key, value in peft_config(adapter, part).items()}


def load(path: Path) -> Adapter:
    """Read a file in this form; without the metadata alpha is the rank, as diffusers reads it.

    Raises:
        UserError: it is no readable LoRA file in this form, or holds numbers that are not finite.
    """
    tensors, metadata = load_tensors(path)
    config = read_config(metadata.get(METADATA, "{}"), path)
    names = sorted(key.removesuffix(DOWN) for key in tensors if key.endswith(DOWN))
    expected = {name + end for name in names for end in (DOWN, UP)}
    if not names or expected != set(tensors):
        odd = sorted(expected ^ set(tensors))[:3]
        raise UserError(f"not a LoRA file in diffusers' form ({', '.join(odd)})", where=path, fix="check the path")
    layers = {}
    for name in names:
        down, up = tensors[name + DOWN], tensors[name + UP]
        rank = down.shape[0] if down.ndim else 1
        layers[name] = layer_of(down, up, alpha_of(config, name, rank, path), f"{path}: {name}")
    return Adapter(layers, {key: value for key, value in metadata.items() if key not in (METADATA, "format")})
