"""One LoRA of several; `merge_into_base` merges LoRAs into a base model."""

import functools
from collections.abc import Sequence

import torch

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.console.errors import UserError
from lorakiln.lora_files.embeddings import join_embeddings
from lorakiln.tools.metadata import find_resolution, make_metadata, read_inherited
from lorakiln.tools.rank_reduction import Cut, cut_layer, stack_layers


def merge_loras(parts: Sequence[tuple[Adapter, float]], how: Cut | None = None, title: str = "merged") -> Adapter:
    """One LoRA that does what all do together, each at its weight.

    Args:
        how: cut the result down; null: the ranks add up and nothing is lost.
        title: the new LoRA's name, for its metadata.

    Raises:
        UserError: a module has another shape in another file: they are for different base models; or a word has
            another embedding.
    """
    names = sorted({name for adapter, _ in parts for name in adapter.layers})
    layers: dict[str, Layer] = {}
    for name in names:
        given = [(adapter.layers[name], weight) for adapter, weight in parts if name in adapter.layers]
        try:
            layer = stack_layers(given)
        except ValueError as error:
            fix = "merge LoRAs of one base model"
            raise UserError(f"{name} has another shape in another of the files", fix=fix) from error
        layers[name] = cut_layer(layer, how)[0] if how else layer
    said = [read_inherited(adapter.metadata) for adapter, _ in parts]
    version, prediction = (next((one for one in ones if one), "") for ones in zip(*said, strict=True))
    base = next((adapter.base for adapter, _ in parts if adapter.base), None)
    resolution = find_resolution(*(adapter.metadata for adapter, _ in parts))
    metadata = make_metadata(Adapter(layers, {}, base), title, version, prediction, resolution)
    return Adapter(layers, metadata, base, embeddings=join_embeddings([adapter.embeddings for adapter, _ in parts]))


def find_stored_dtype(*adapters: Adapter) -> torch.dtype:
    """The type that holds all of these LoRAs' numbers as they are stored: what is made of them is written in it."""
    kinds = {tensor.dtype for one in adapters for layer in one.layers.values() for tensor in (layer.down, layer.up)}
    common = functools.reduce(torch.promote_types, kinds)
    return common if common in (torch.float16, torch.bfloat16) else torch.float32
