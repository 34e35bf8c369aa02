"""New LoRAs from old ones: resized, merged, or extracted from two checkpoints."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.adapters.lora import MODULE as LORA
from lorakiln.console.errors import UserError
from lorakiln.console.progress import show_progress
from lorakiln.families.shapes import is_same_matrix
from lorakiln.lora_files.embeddings import join_embeddings
from lorakiln.lora_files.reading import LoraFile, read_lora
from lorakiln.tools.base_weights import BaseWeights
from lorakiln.tools.lowrank import Cut, approximate_layer, cut_layer, stack_layers
from lorakiln.tools.metadata import find_resolution, make_metadata, make_rank_keys, read_inherited

NO_LORA = ("norm", "embedding.", "embeddings.", "time_embedding", "add_embedding")  # in modules' names


def convert_to_loras(
    path: Path,
    how: Cut | None = None,
    base: BaseWeights | None = None,
    weights_only: bool = False,
    part: str | None = None,
) -> tuple[LoraFile, dict[str, float]]:
    """A file whose layers are all LoRAs, and how far each that was cut down is from what it was, by its module.

    Args:
        how: cut down the layers of a higher rank than this; null: all are as they are, and other kinds' without loss.
        base: what it was trained on; DoRA, OFT, BOFT and IA3 need it.
        weights_only: leave out what it changes of biases and norms; else it is refused.
        part: as `read_lora` takes it.

    Returns:
        the file; and ||dW_cut - dW|| / ||dW||, Frobenius norms.
    """
    lost: dict[str, float] = {}

    def shrink(module: str, layer: Layer) -> Layer:
        if how is None or layer.rank <= how.rank:
            return layer
        small, kept = cut_layer(layer, how)
        lost[module] = max(0.0, 1.0 - kept**2) ** 0.5
        return small

    found = read_lora(path, shrink if how else None, base.weight if base else None, weights_only, part)
    if not (found.kinds or lost):
        return found, lost
    return replace(found, adapter=replace(found.adapter, metadata=_resized(found.adapter))), lost


def select_part(adapter: Adapter, part: str) -> Adapter:
    """The layers of one part alone.

    Raises:
        UserError: it has none of that part.
    """
    layers = {name: layer for name, layer in adapter.layers.items() if name.split(".")[0] == part}
    if not layers:
        known = ", ".join(sorted({name.split(".")[0] for name in adapter.layers}))
        raise UserError(f"it has no layer of {part!r}", where="--only", fix=f"its parts: {known}")
    kept = adapter.embeddings if part.startswith("text_encoder") else {}
    return replace(adapter, layers=layers, metadata=_known(adapter.metadata), embeddings=kept)


def resize_lora(adapter: Adapter, how: Cut) -> tuple[Adapter, dict[str, float]]:
    """Every layer cut down, and the share of its norm that each kept, by layer."""
    layers, kept = {}, {}
    for name, layer in adapter.layers.items():
        layers[name], kept[name] = cut_layer(layer, how)
    small = replace(adapter, layers=layers)
    return replace(small, metadata=_resized(small)), kept


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


def extract_lora(
    base: BaseWeights, tuned: BaseWeights, how: Cut, least: float = 1e-4, title: str = "extracted"
) -> Adapter:
    """The LoRA that brings a base model as near as its rank allows to one that was trained from it.

    Layer by layer, so that no model is ever in memory.

    Args:
        least: layers whose weights differ by less everywhere are left out.
        title: the new LoRA's name, for its metadata.

    Raises:
        UserError: they are different models, or equal ones, or hold numbers that are not finite.
    """
    parts = base.parts & tuned.parts
    layers: dict[str, Layer] = {}
    for part in sorted(parts):
        layers |= _differences(base, tuned, part, how, least)
    if not layers:
        fix = "name the base model and the model that was trained from it"
        raise UserError(f"no layer differs by more than {least}", where=tuned.source, fix=fix)
    version, prediction = tuned.version or base.version, tuned.prediction or base.prediction
    resolution = find_resolution(*(store.metadata for one in (tuned, base) for store in one.stores.get("", [])))
    return Adapter(layers, make_metadata(Adapter(layers), title, version, prediction, resolution))


def _differences(base: BaseWeights, tuned: BaseWeights, part: str, how: Cut, least: float) -> dict[str, Layer]:
    before, after = (
        {name: place for name, place in one.places.items() if name.split(".")[0] == part} for one in (base, tuned)
    )
    fix = "name the base model and the model that was trained from it"
    if odd := sorted(set(before) ^ set(after)):
        raise UserError(
            f"its {part} has other layers than that of {base.source}: {odd[0]}", where=tuned.source, fix=fix
        )
    names = [name for name in sorted(before) if _adaptable(name)]
    layers = {}
    with show_progress(f"extract {part}", len(names), "weights") as bar:
        for name in names:
            old, new = before[name].read(), after[name].read()
            if not is_same_matrix(old.shape, new.shape):
                raise UserError(f"{name} has another shape than in {base.source}", where=tuned.source, fix=fix)
            delta = new.float() - old.float().reshape(new.shape)
            if not torch.isfinite(delta).all():
                what = f"{name} holds numbers that are not finite, here or in {base.source}"
                raise UserError(what, where=tuned.source, fix="the file is damaged: get it again")
            if delta.ndim in (2, 4) and float(delta.abs().max()) > least:
                layers[name] = approximate_layer(delta, how)
            bar.advance()
    return layers


def _adaptable(name: str) -> bool:
    return not any(word in name for word in NO_LORA)


def _resized(adapter: Adapter) -> dict[str, str]:
    """The metadata of what is now a LoRA of other ranks: what it says of another kind of layer goes."""
    known = _known(adapter.metadata)
    args = known.get("ss_network_args", "{}") if known.get("ss_network_module", LORA) == LORA else "{}"
    return known | {"ss_network_module": LORA, "ss_network_args": args} | make_rank_keys(adapter.layers, args)


def _known(metadata: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if not key.startswith("sshs_")}
