"""A LoRA file of any kind as one whose layers are all LoRAs, or with one part's layers alone."""

from dataclasses import replace
from pathlib import Path

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.console.errors import UserError
from lorakiln.lora_files.reading import LoraFile, read_lora
from lorakiln.tools.base_weights import BaseWeights
from lorakiln.tools.metadata import drop_hashes, make_resized_metadata
from lorakiln.tools.rank_reduction import Cut, cut_layer


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
    return replace(found, adapter=replace(found.adapter, metadata=make_resized_metadata(found.adapter))), lost


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
    return replace(adapter, layers=layers, metadata=drop_hashes(adapter.metadata), embeddings=kept)
