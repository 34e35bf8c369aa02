"""Merge LoRAs into a base model: a new folder or single file, in the layout that the base has."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lorakiln.adapters.adapter import Adapter, Change
from lorakiln.artefacts.disk import check_space
from lorakiln.artefacts.folders import replacing
from lorakiln.artefacts.json_files import write_json
from lorakiln.artefacts.tensor_files import stream_tensors
from lorakiln.console.errors import UserError
from lorakiln.console.progress import Bar, PlainLines, show_progress
from lorakiln.families.layer_names import to_canonical_name
from lorakiln.families.model_source import read_config
from lorakiln.families.shapes import is_same_matrix
from lorakiln.tools.base_weights import BaseWeights, TensorStore, WeightPlace, open_base

FIX = "use the base model that the LoRA was trained on"
# Of a folder's, beside its weights: what pipelines read. Pickles and other variants would be the base's, unmerged.
BESIDE = (
    "LICENSE*",
    "scheduler/*.json",
    "feature_extractor/*.json",
    *(f"{folder}/*.{ending}" for folder in ("tokenizer", "tokenizer_2") for ending in ("json", "txt")),
)
Added = Sequence[tuple[Change, float]]


def merge_into_base(
    base: Path,
    parts: Sequence[tuple[Adapter, float]],
    out: Path,
    dtype: torch.dtype | None = None,
    *,
    config: str | None = None,
    allow_pickle: bool = False,
) -> int:
    """Write `base` with the LoRAs in its weights to `out`; how many weights were changed.

    A folder becomes a folder, each part's weights in one file without a variant's name; a single file becomes a
    single file with the same names and metadata, but for hashes, which would be the base's. Tensors are read, changed
    and written one by one: memory need hold a few of the largest.

    Args:
        dtype: of the written weights; None: as they are.
        config, allow_pickle: see `base.open_base`.

    Raises:
        UserError: a layer of a LoRA has no weight in the base, or another shape; a weight becomes too large for its
            type; the disk is full. `out` is as it was then.
    """
    found = open_base(base, config, allow_pickle)
    layers = _layers(parts)
    _check_fit(found, layers)
    stored = [store for stores in found.stores.values() for store in stores]
    size = sum(_size(shape, kind, dtype) for store in stored for kind, shape in store.layout.values())
    check_space(out.absolute().parent, size, "the weights")
    with show_progress("merge", sum(len(store.layout) for store in stored), "tensors") as bar:
        writer = _Writer(found, layers, dtype, bar)
        if base.is_file():
            writer.write(found.stores[""], out, _lasting(stored[0].metadata))
        else:
            with replacing(out) as fresh:
                _write_folder(base, fresh, found, writer)
    return len(layers)


def _layers(parts: Sequence[tuple[Adapter, float]]) -> dict[str, list[tuple[Change, float]]]:
    layers: dict[str, list[tuple[Change, float]]] = {}
    for adapter, weight in parts:
        for name, layer in adapter.changes.items():
            layers.setdefault(to_canonical_name(name), []).append((layer, weight))
    return layers


def _check_fit(base: BaseWeights, layers: Mapping[str, Added]) -> None:
    if missing := sorted(set(layers) - set(base.places)):
        raise UserError(f"{len(missing)} of the LoRA's layers are not in it: {missing[0]}", where=base.source, fix=FIX)
    for name, added in layers.items():
        place = base.places[name]
        for layer, _ in added:
            # Of some relative layers the shape shows when they change the weight.
            if layer.shape and not is_same_matrix(layer.shape, place.shape):
                raise UserError(f"its shape is {place.shape}, the LoRA's {layer.shape}", where=place, fix=FIX)


class _Writer:
    def __init__(
        self, base: BaseWeights, layers: Mapping[str, Added], dtype: torch.dtype | None, bar: PlainLines | Bar
    ) -> None:
        self.dtype, self.bar = dtype, bar
        self._added: dict[tuple[Path, str], list[tuple[WeightPlace, Added]]] = {}
        for module, added in layers.items():
            place = base.places[module]
            self._added.setdefault((place.store.path, place.name), []).append((place, added))

    def write(self, stores: Sequence[TensorStore], target: Path, metadata: Mapping[str, str]) -> None:
        """All tensors of the stores, changed where a LoRA says so, as one file."""
        where = {name: store for store in stores for name in store.layout}
        layout = {
            name: (_written(store.layout[name][0], self.dtype), store.layout[name][1]) for name, store in where.items()
        }
        stream_tensors(target, layout, lambda name: self._tensor(where[name], name, layout[name][0]), metadata)

    def _tensor(self, store: TensorStore, name: str, dtype: torch.dtype) -> Tensor:
        tensor = store.read(name)
        added = self._added.get((store.path, name), [])
        self.bar.advance()
        if not added and tensor.dtype == dtype:
            return tensor
        whole = tensor.to(torch.float32, copy=True) if added else tensor
        del tensor
        for place, layers in added:
            piece = place.within(whole)
            # All of the base's own weight: what one LoRA does depends on no other.
            changes = [(layer.change_of(piece), weight) for layer, weight in layers]
            for change, weight in changes:
                piece.add_(change, alpha=weight)
        written = whole.to(dtype)
        if not torch.isfinite(written.float()).all():
            fix = "lower the LoRA's weight, or write more bits: --precision bf16 or fp32"
            what = f"numbers that are too large for {str(dtype).removeprefix('torch.')}, or not finite"
            raise UserError(what, where=f"{store.path}: {name}", fix=fix)
        return written


def _written(stored: torch.dtype, wanted: torch.dtype | None) -> torch.dtype:
    return wanted if wanted and stored.is_floating_point else stored


def _size(shape: Sequence[int], stored: torch.dtype, wanted: torch.dtype | None) -> int:
    return torch.Size(shape).numel() * _written(stored, wanted).itemsize


def _lasting(metadata: Mapping[str, str]) -> dict[str, str]:
    """Without what was taken over the base's bytes."""
    return {k: v for k, v in metadata.items() if not k.startswith(("sshs_", "modelspec.hash_sha256"))}


def _write_folder(base: Path, fresh: Path, found: BaseWeights, writer: _Writer) -> None:
    for part, stores in found.stores.items():
        stem = "model" if part.startswith("text_encoder") else "diffusion_pytorch_model"
        writer.write(stores, fresh / part / f"{stem}.safetensors", {"format": "pt"})
        _copy(base, fresh, [f"{part}/config.json"])
    _copy(base, fresh, BESIDE)
    index = base / "model_index.json"
    if index.exists():
        # What is left out (a safety checker) is null there, as diffusers writes it.
        listed = {
            name: [None, None] if isinstance(value, list) and not (fresh / name).is_dir() else value
            for name, value in read_config(index).items()
        }
        write_json(fresh / index.name, listed)


def _copy(base: Path, fresh: Path, patterns: Sequence[str]) -> None:
    for path in sorted({path for pattern in patterns for path in base.glob(pattern) if path.is_file()}):
        target = fresh / path.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
