"""LoRA files as diffusers and peft write them: "unet.<module>.lora_A.weight", ".lora_B.weight"; and a run's own.

Ranks and alphas are in the metadata key `lora_adapter_metadata`, a JSON object of peft's LoraConfig with the part
in front of each name ("unet.r", "unet.lora_alpha", ...), as diffusers' `save_lora_adapter` writes it. Other
programs than a recent diffusers read none of that and take alpha for the rank, so that what is written for them is
folded (`casting.cast_adapter`). A run keeps its own adapters as they were trained; what another kind's tensors do not
say of it is in the same place.
"""

import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from torch import Tensor

from lorakiln.adapters.adapter import Adapter, Change
from lorakiln.adapters.checks import check_finite
from lorakiln.adapters.peft_config import read_config
from lorakiln.adapters.protocol import Stored, find_trained_kind
from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.console.errors import UserError
from lorakiln.families.kinds import list_adapted_parts
from lorakiln.lora_files.embeddings import bundle_embeddings, split_embeddings

METADATA = "lora_adapter_metadata"


def list_peft_classes() -> dict[str, dict[str, str]]:
    """peft's `auto_mapping` by part: the class of the network that an adapter folder is for. Nothing else in it tells
    the part.
    """
    return {
        part: {"parent_library": library, "base_model_class": name}
        for part, (library, name) in list_adapted_parts().items()
    }


def save(adapter: Adapter, path: Path, kind: str = "lora") -> None:
    """Write `adapter` as it is; its own metadata strings go along.

    Args:
        kind: of its layers.

    Raises:
        UserError: a weight is not finite, or the disk is full.
    """
    own = find_trained_kind(kind)
    tensors: dict[str, Tensor] = {}
    for name, layer in adapter.layers.items():
        given = own.tensors(layer, "dotted")
        check_finite(*given.values(), where=f"{path}: {name}")
        tensors |= {f"{name}.{ending}": tensor for ending, tensor in given.items()}
    brought = bundle_embeddings(adapter.embeddings.values())
    check_finite(*brought.values(), where=f"{path}: {', '.join(adapter.embeddings)}")
    tensors |= brought
    parts = sorted({name.split(".")[0] for name in adapter.layers})
    config = {f"{part}.{key}": value for part in parts for key, value in make_part_config(adapter, part, kind).items()}
    told = json.dumps(config, indent=2, sort_keys=True)
    save_tensors(path, tensors, {"format": "pt", **adapter.metadata, METADATA: told})


def make_part_config(adapter: Adapter, part: str, kind: str = "lora") -> dict[str, Any]:
    """What peft's config says of one part's layers: for a LoRA, its LoraConfig."""
    # Without "text_model.": peft compares endings, and transformers 5 has text encoders with and without that level.
    layers = {
        name.removeprefix(f"{part}.").removeprefix("text_model."): layer
        for name, layer in sorted(adapter.layers.items())
        if name.startswith(f"{part}.")
    }
    return find_trained_kind(kind).config(layers)


def load(path: Path, kind: str = "lora") -> Adapter:
    """Read a file in this form; without the metadata a LoRA's alpha is the rank, as diffusers reads it.

    Args:
        kind: of its layers.

    Raises:
        UserError: it is no readable file of this kind in this form, or holds numbers that are not finite.
    """
    tensors, metadata = load_tensors(path)
    tensors, embeddings = split_embeddings(tensors, path)
    config = read_config(metadata.get(METADATA, "{}"), path)
    own = find_trained_kind(kind)
    given, unknown = group_by_layer(tensors, ".", own.ENDINGS["dotted"].all), set(tensors)
    layers: dict[str, Change] = {}
    for name in sorted(given):
        if given[name].keys() == own.claim(given[name], "dotted"):
            layers[name] = own.read(Stored(path, name, name, "dotted", given[name], config))
            unknown -= {f"{name}.{ending}" for ending in given[name]}
    if unknown or not (layers or embeddings):
        odd = ", ".join(sorted(unknown)[:3])
        raise UserError(f"not a {own.TITLE} file in diffusers' form ({odd})", where=path, fix="check the path")
    told = {key: value for key, value in metadata.items() if key not in (METADATA, "format")}
    return Adapter(layers, told, embeddings=embeddings)


def group_by_layer(tensors: Mapping[str, Tensor], mark: str, endings: Set[str]) -> dict[str, dict[str, Tensor]]:
    """Each layer's tensors by their endings, where names hold the mark too: by the longest ending that is known."""
    longest = sorted(endings, key=lambda ending: (-len(ending), ending))
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if ending := next((end for end in longest if key.endswith(mark + end)), None):
            layers.setdefault(key.removesuffix(mark + ending), {})[ending] = tensor
    return layers
