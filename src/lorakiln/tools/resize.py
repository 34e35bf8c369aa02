"""A LoRA of a lower rank."""

from dataclasses import replace

from lorakiln.adapters.adapter import Adapter
from lorakiln.tools.metadata import make_resized_metadata
from lorakiln.tools.rank_reduction import Cut, cut_layer


def resize_lora(adapter: Adapter, how: Cut) -> tuple[Adapter, dict[str, float]]:
    """Every layer cut down, and the share of its norm that each kept, by layer."""
    layers, kept = {}, {}
    for name, layer in adapter.layers.items():
        layers[name], kept[name] = cut_layer(layer, how)
    small = replace(adapter, layers=layers)
    return replace(small, metadata=make_resized_metadata(small)), kept
