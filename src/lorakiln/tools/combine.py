"""New LoRAs from old ones: resized, merged, or extracted from two checkpoints."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open

from lorakiln.console.errors import UserError
from lorakiln.console.progress import progress
from lorakiln.families.names import canonical
from lorakiln.families.source import weight_files
from lorakiln.lora_files.adapter import Adapter, Layer
from lorakiln.lora_files.reading import LoraFile, read_lora
from lorakiln.tools.lowrank import Cut, approximated, cut, stacked

# Metadata of the first of several LoRAs that is true of what they make together.
KEPT = ("ss_base_model_version", "ss_v2", "modelspec.architecture")


def as_loras(path: Path, how: Cut | None = None) -> tuple[LoraFile, dict[str, float]]:
    """A file whose layers are all LoRAs, and how far each that was cut down is from what it was, by its module.

    Args:
        how: cut down the layers of a higher rank than this; null: all are as they are, and other kinds' without loss.

    Returns:
        the file; and ||dW_cut - dW|| / ||dW||, Frobenius norms.
    """
    lost: dict[str, float] = {}

    def shrink(module: str, layer: Layer) -> Layer:
        if how is None or layer.rank <= how.rank:
            return layer
        small, kept = cut(layer, how)
        lost[module] = max(0.0, 1.0 - kept**2) ** 0.5
        return small

    found = read_lora(path, shrink if how else None)
    if not (found.kinds or lost):
        return found, lost
    rank = max(layer.rank for layer in found.adapter.layers.values())
    metadata = _known(found.adapter.metadata) | _plain(rank)
    return replace(found, adapter=replace(found.adapter, metadata=metadata)), lost


def resized(adapter: Adapter, how: Cut) -> tuple[Adapter, dict[str, float]]:
    """Every layer cut down, and the share of its norm that each kept, by layer."""
    layers, kept = {}, {}
    for name, layer in adapter.layers.items():
        layers[name], kept[name] = cut(layer, how)
    ranks = {layer.rank for layer in layers.values()}
    return Adapter(layers, _known(adapter.metadata) | _plain(max(ranks)), adapter.base), kept


def merged(parts: Sequence[tuple[Adapter, float]], how: Cut | None = None) -> Adapter:
    """One LoRA that does what all do together, each at its weight.

    Args:
        how: cut the result down; null: the ranks add up and nothing is lost.

    Raises:
        UserError: a module has another shape in another file: they are for different base models.
    """
    names = sorted({name for adapter, _ in parts for name in adapter.layers})
    layers: dict[str, Layer] = {}
    for name in names:
        given = [(adapter.layers[name], weight) for adapter, weight in parts if name in adapter.layers]
        try:
            layer = stacked(given)
        except ValueError as error:
            fix = "merge LoRAs of one base model"
            raise UserError(f"{name} has another shape in another of the files", fix=fix) from error
        layers[name] = cut(layer, how)[0] if how else layer
    rank = max(layer.rank for layer in layers.values())
    metadata = {k: v for k, v in parts[0][0].metadata.items() if k in KEPT}
    return Adapter(
        layers,
        metadata | _plain(rank),
        next((adapter.base for adapter, _ in parts if adapter.base), None),
    )


def extracted(base: Path, tuned: Path, how: Cut, least: float = 1e-4) -> Adapter:
    """The LoRA that brings a base model as near as its rank allows to one that was trained from it.

    Both are folders in diffusers' layout; layer by layer, so that no model is ever in memory.

    Args:
        least: layers whose weights differ by less everywhere are left out.

    Raises:
        UserError: the folders hold different models, or equal ones.
    """
    layers: dict[str, Layer] = {}
    for part in ("unet", "text_encoder", "text_encoder_2"):
        if (base / part).is_dir() and (tuned / part).is_dir():
            layers |= _differences(base / part, tuned / part, part, how, least)
    if not layers:
        fix = "name the base model and the model that was trained from it"
        raise UserError(f"no layer differs by more than {least}", where=tuned, fix=fix)
    rank = max(layer.rank for layer in layers.values())
    return Adapter(layers, {"ss_network_dim": str(rank), "ss_network_alpha": str(float(rank))})


def _differences(base: Path, tuned: Path, part: str, how: Cut, least: float) -> dict[str, Layer]:
    before, after = _Weights(base), _Weights(tuned)
    names = sorted(before.names)
    if set(after.names) != set(names):
        raise UserError(f"its {part} has other layers than that of {base.parent}", where=tuned.parent)
    names = [name for name in names if name.endswith(".weight") and _adaptable(name)]
    layers = {}
    with progress(f"extract {part}", len(names), "weights") as bar:
        for name in names:
            old, new = before[name], after[name]
            if old.shape != new.shape:
                raise UserError(f"{name} has another shape than in {base.parent}", where=tuned.parent)
            delta = new.float() - old.float()
            if old.ndim in (2, 4) and float(delta.abs().max()) > least:
                layers[canonical(f"{part}.{name.removesuffix('.weight')}")] = approximated(delta, how)
            bar.advance()
    return layers


def _adaptable(name: str) -> bool:
    return not any(word in name for word in ("norm", "embedding.", "embeddings.", "time_embedding", "add_embedding"))


class _Weights:
    """The tensors of a part's safetensors files, by name, read one at a time."""

    def __init__(self, folder: Path) -> None:
        self._where = {}
        for path in weight_files(folder, None):
            with safe_open(path, framework="pt") as file:
                self._where |= dict.fromkeys(file.keys(), path)

    @property
    def names(self) -> list[str]:
        return list(self._where)

    def __getitem__(self, name: str) -> torch.Tensor:
        with safe_open(self._where[name], framework="pt") as file:
            return file.get_tensor(name)


def _plain(rank: int) -> dict[str, str]:
    """Metadata that is true of LoRAs whatever they were made from."""
    return {
        "ss_network_module": "networks.lora", "ss_network_args": "{}", "ss_network_dim": str(rank),
        "ss_network_alpha": str(float(rank)),
    }  # fmt: skip


def _known(metadata: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in metadata.items() if not key.startswith("sshs_")}
