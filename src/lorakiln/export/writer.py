"""The files of one exported LoRA: each is written, and read back as its client reads it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from lorakiln.adapters.adapter import Adapter
from lorakiln.adapters.networks import list_weights
from lorakiln.adapters.protocol import find_trained_kind
from lorakiln.artefacts.json_files import read_json, write_json
from lorakiln.artefacts.tensor_files import DTYPES
from lorakiln.export.adapter_comparison import compare_adapters
from lorakiln.export.privacy import remove_places
from lorakiln.export.word_files import check_bundle, write_words
from lorakiln.facts.run import RunFacts, SavedAdapter
from lorakiln.families.kinds import find_version, list_adapted_parts
from lorakiln.families.protocol import Family
from lorakiln.families.shapes import has_kernel
from lorakiln.lora_files import diffusers_form, kohya_form, kohya_metadata
from lorakiln.lora_files.casting import CastAdapter, cast_adapter
from lorakiln.lora_files.reading import read_as_stored
from lorakiln.lora_files.writing import write_peft
from lorakiln.rows import CaptionedRow
from lorakiln.schema.export import ExportSettings
from lorakiln.schema.train import TrainSettings


class Writer:
    """Writes adapters of one run and reads each file back."""

    def __init__(
        self,
        run: Path,
        folder: Path,
        family: Family,
        facts: RunFacts,
        rows: list[CaptionedRow],
        settings: ExportSettings,
        told: Mapping[str, str],
    ) -> None:
        self.run, self.folder, self.family, self.facts, self.rows = run, folder, family, facts, rows
        self.settings, self.dtype = settings, DTYPES[settings.precision]
        self.clients = list(family.client_keys())
        self.kind_name = facts.made_with("train", TrainSettings).adapter.kind
        self.kind, self.weights = find_trained_kind(self.kind_name), list_weights(family.adaptable())
        self.metadata = dict(told)
        self.noted: set[str] = set()
        # Files of words, below the folder.
        self.words: list[str] = []
        self.adapts = facts.made_with("train", TrainSettings).parts != []

    def trained(self, adapter: SavedAdapter) -> Adapter:
        """What was trained, at the strength that the files are to have."""
        found = diffusers_form.load(self.run / adapter.file, self.kind_name)
        if self.settings.strength == 1:
            return found
        layers = {name: self.kind.scale(layer, self.settings.strength) for name, layer in found.layers.items()}
        return replace(found, layers=layers)

    def write_kohya(self, name: str, adapter: SavedAdapter) -> float:
        """Write `<name>.safetensors`, if there is an adapter; return the largest relative difference of a layer."""
        if not self.adapts:
            return 0.0
        trained, path = self.trained(adapter), self.folder / f"{name}.safetensors"
        if self.settings.embeddings == "file":
            trained = replace(trained, embeddings={})
        ready = self.fit(trained, name)
        wide = any(has_kernel(layer.shape or ()) for layer in trained.layers.values())
        facts = remove_places(self.facts).changed(step=adapter.step, convolutions=wide)
        metadata = (
            kohya_metadata.build_metadata(facts, self.rows, name, self.settings.private, self.times()) | self.metadata
        )
        tensors = kohya_form.make_tensors(ready.adapter, self.family.kohya_name, self.kind_name)
        metadata = kohya_metadata.add_hashes(metadata, tensors)
        kohya_form.save(ready.adapter, path, self.family, metadata, self.kind_name)
        check_bundle(trained.embeddings.values(), path)
        return max(
            self.compare(
                trained,
                ready,
                kohya_form.load(path, self.family, client, self.kind_name),
                f"{path.name}, read by {client}",
            )
            for client in self.clients
        )

    def write_words(self, adapter: SavedAdapter, suffix: str) -> None:
        """Write the trained words as files of their own, if they are to be; `suffix` ends their names."""
        if self.adapts and self.settings.embeddings == "bundle":
            return
        trained, version = self.trained(adapter).embeddings.values(), find_version(self.facts.base.version)
        written = write_words(trained, self.folder, suffix, version)
        self.words += [] if suffix else written

    def compare(self, trained: Adapter, ready: CastAdapter, written: Adapter, where: str) -> float:
        """The largest relative difference of a layer; UserError if one is wrong."""
        return compare_adapters(trained, ready, written, self.dtype, where, self.kind, self.weights.__getitem__)

    def fit(self, trained: Adapter, name: str, *, fold: bool = False) -> CastAdapter:
        """What the file is to hold; layers that the precision loses a part of are told once."""
        ready = cast_adapter(trained, self.dtype, name, fold=fold, kind=self.kind_name)
        if ready.lost and str(ready) not in self.noted:
            self.noted.add(str(ready))
            print(f"note: {ready}", flush=True)
        return ready

    @property
    def foldable(self) -> bool:
        """Whether diffusers loads this kind."""
        return hasattr(self.kind, "fold")

    def is_in_peft(self, adapter: SavedAdapter) -> bool:
        """Whether peft loads this kind's layers, and diffusers does not."""
        ask: Any = getattr(self.kind, "in_peft", None)
        return ask is not None and ask(self.trained(adapter).layers)

    def times(self) -> tuple[datetime, datetime] | None:
        """When the training began and ended, if that is to be told."""
        if not self.settings.timestamps:
            return None
        told = read_json(self.run / "provenance.json")
        return datetime.fromisoformat(told["began"]), datetime.fromisoformat(told["ended"])

    def write_diffusers(self, adapter: SavedAdapter) -> float:
        """Write the folder that diffusers loads: folded, since not every reader of it looks for alphas."""
        trained, folder = self.trained(adapter), self.folder / "diffusers"
        path = folder / "pytorch_lora_weights.safetensors"
        ready = self.fit(trained, path.name, fold=True)
        # Nothing else in it tells the base, where only self-attention is adapted.
        told = {"ss_base_model_version": self.facts.base.version}
        diffusers_form.save(replace(ready.adapter, metadata=told, embeddings={}), path, self.kind_name)
        config = diffusers_form.make_part_config(ready.adapter, list_parts(trained)[0], self.kind_name)
        write_json(folder / "adapter_config.json", {**config, "base_model_name_or_path": self.facts.base_model})
        return self.compare(trained, ready, diffusers_form.load(path, self.kind_name), path.name)

    def write_peft(self, adapter: SavedAdapter) -> float:
        """Write the folder that peft loads, of kinds that diffusers does not load; of several networks one for each."""
        whole, folder = self.trained(adapter), self.folder / "peft"
        told, worst = {"ss_base_model_version": self.facts.base.version}, 0.0
        parts = list_parts(whole)
        for part in parts:
            trained = whole.select(part)
            path = folder / part if len(parts) > 1 else folder
            ready = self.fit(trained, path.name)
            write_peft(replace(ready.adapter, metadata=told), path, self.kind_name)
            worst = max(worst, self.compare(trained, ready, read_as_stored(path).adapter, path.name))
        return worst


def list_parts(adapter: Adapter) -> list[str]:
    """The parts of the base that it changes, the denoiser first."""
    parts = {name.partition(".")[0] for name in adapter.layers}
    return [part for part in list_adapted_parts() if part in parts]
