"""The LoRA between two checkpoints: a base model, and one that was trained from it."""

import torch

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.console.errors import UserError
from lorakiln.console.progress import show_progress
from lorakiln.families.shapes import is_same_matrix
from lorakiln.tools.base_weights import BaseWeights
from lorakiln.tools.metadata import find_resolution, make_metadata
from lorakiln.tools.rank_reduction import Cut, approximate_layer

NO_LORA = ("norm", "embedding.", "embeddings.", "time_embedding", "add_embedding")  # in modules' names


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
