"""Merge LoRAs into a base model's folder: a new folder in diffusers' layout."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open

from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.tensors import save_tensors
from lorakiln.console.errors import UserError
from lorakiln.families.names import canonical
from lorakiln.families.source import weight_files
from lorakiln.lora_files.adapter import Adapter

PARTS = ("unet", "text_encoder", "text_encoder_2")


def bake(base: Path, parts: Sequence[tuple[Adapter, float]], out: Path) -> int:
    """Write `base` with the LoRAs in its weights to `out`; how many weights were changed.

    A weight keeps its dtype; files that no LoRA touches are copied as they are.

    Raises:
        UserError: a layer of a LoRA has no weight in the base, or another shape.
    """
    wanted = {canonical(name) for adapter, _ in parts for name in adapter.layers}
    changed: set[str] = set()
    with replacing(out) as fresh:
        shutil.copytree(base, fresh, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.part"))
        for part in PARTS:
            if not (base / part).is_dir():
                continue
            for path in weight_files(base / part, None):
                changed |= _bake_file(path, fresh / part / path.name, part, parts)
        if missing := sorted(wanted - changed):
            fix = "use the base model that the LoRA was trained on"
            raise UserError(f"{len(missing)} of the LoRA's layers are not in it: {missing[0]}", where=base, fix=fix)
    return len(changed)


def _bake_file(path: Path, target: Path, part: str, parts: Sequence[tuple[Adapter, float]]) -> set[str]:
    tables = [({canonical(n): layer for n, layer in adapter.layers.items()}, weight) for adapter, weight in parts]
    changed, tensors = set(), {}
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        for key in file.keys():  # noqa: SIM118
            tensor = file.get_tensor(key)
            name = canonical(f"{part}.{key.removesuffix('.weight')}")
            if key.endswith(".weight") and any(name in table for table, _ in tables):
                tensor = _added(tensor, [(t[name], w) for t, w in tables if name in t], f"{path}: {key}")
                changed.add(name)
            tensors[key] = tensor
        if changed:
            save_tensors(target, tensors, metadata)
    return changed


def _added(tensor: torch.Tensor, layers: Sequence, where: str) -> torch.Tensor:
    result = tensor.float()
    for layer, weight in layers:
        delta = layer.delta()
        if delta.numel() != tensor.numel() or delta.shape[0] != tensor.shape[0]:
            fix = "use the base model that the LoRA was trained on"
            shapes = f"its shape is {tuple(tensor.shape)}, the LoRA's {tuple(delta.shape)}"
            raise UserError(shapes, where=where, fix=fix)
        result = result + weight * delta.reshape(tensor.shape)
    return result.to(tensor.dtype)
