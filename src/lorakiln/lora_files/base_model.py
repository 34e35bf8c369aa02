"""Which base model a LoRA was trained on: by its layers' shapes, by what its file says, and how it names its layers."""

import re
from collections.abc import Iterable

from lorakiln.adapters.adapter import Adapter
from lorakiln.families.kinds import FamilyKind, find_family, guess_version, list_families, list_versions
from lorakiln.families.versions import BaseVersion


def find_base_version(adapter: Adapter) -> str:
    """How kohya's names of its base model begin (sd_v1, ...), or "unknown"; see `find_generation`."""
    found = find_generation(adapter)
    return found.kohya_stem if found else "unknown"


def find_generation(adapter: Adapter) -> BaseVersion | None:
    """The generation that it is for, the first version of it; None if nothing tells, as where only self-attention is
    adapted.

    Layers that only one has count first, then what the metadata says, then the names' style in the file, then the text
    encoder's width.
    """
    said = (_by_metadata(adapter), guess_version(adapter.base or ""))
    told = [one for one in said if one and not _has(adapter, one.architecture.foreign)]
    return _by_layers(adapter) or next(iter(told), None) or _by_encoder(adapter)


def find_lora_family(adapter: Adapter) -> FamilyKind:
    """The family that it is for; where nothing tells it, the first that has all of its layers.

    Raises:
        ValueError: no family has them.
    """
    if version := find_generation(adapter):
        return find_family(version)
    if found := next((kind for kind in list_families() if all(map(kind.known, adapter.changes))), None):
        return found
    raise ValueError(f"no family has the layers {', '.join(sorted(adapter.changes)[:3])}")


def guess_base_by_names(names: Iterable[str]) -> str | None:
    """What the style of the names in a kohya file hints at, as kohya's names of it begin; None: nothing."""
    names = list(names)
    hints = (one for one in list_versions() if any(re.match(one.architecture.spelling, name) for name in names))
    return next((one.kohya_stem for one in hints), None)


def _by_metadata(adapter: Adapter) -> BaseVersion | None:
    if found := guess_version(adapter.metadata.get("ss_base_model_version", "")):
        return found
    said = adapter.metadata.get("modelspec.architecture", "")
    return next((one for one in list_versions() if said.startswith(one.modelspec_stem)), None)


def _by_layers(adapter: Adapter) -> BaseVersion | None:
    if found := next((one for one in list_versions() if _has(adapter, one.architecture.layers)), None):
        return found
    for name, layer in adapter.changes.items():
        if name.endswith(("attn2.to_k", "attn2.to_v")) and layer.shape:
            mine = (one for one in list_versions() if name.startswith(f"{one.layout.network}."))
            return next((one for one in mine if one.text_width == layer.shape[1]), None)
    return None


def _by_encoder(adapter: Adapter) -> BaseVersion | None:
    """By the width of the one text encoder."""
    for name, layer in adapter.changes.items():
        if name.endswith("self_attn.q_proj") and layer.shape:
            return next((one for one in list_versions() if one.encoder_widths == (layer.shape[1],)), None)
    return None


def _has(adapter: Adapter, pattern: str) -> bool:
    """Whether any of its layers is one of these."""
    return any(re.match(pattern, name) for name in adapter.changes)
