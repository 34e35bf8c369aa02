"""A base model's weights, in a folder or a single file, one at a time by the names that LoRAs have for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from lorakiln.adapters.checks import check_finite
from lorakiln.artefacts.tensor_files import TensorFile
from lorakiln.console.errors import UserError
from lorakiln.families.borrowed_configs import borrow_config
from lorakiln.families.kinds import find_version_predicting, list_adapted_parts, list_families, recognise_file
from lorakiln.families.layer_names import to_canonical_name
from lorakiln.families.model_source import PICKLES, find_variant, list_weight_files, read_config
from lorakiln.families.part_tensors import locate_part_tensors
from lorakiln.families.sd.file_contents import find_prediction
from lorakiln.families.versions import BaseVersion
from lorakiln.families.weights_file import WeightsFile, is_single_file, open_weights_file
from lorakiln.schema.model import ModelSettings, Source

CLIP = "openai/clip-vit-large-patch14"  # whose tokenizer these models have


class TensorStore(Protocol):
    """A file of tensors.

    Attributes:
        layout: (dtype, shape) by name.
    """

    @property
    def path(self) -> Path: ...

    @property
    def metadata(self) -> Mapping[str, str]: ...

    @property
    def layout(self) -> Mapping[str, tuple[torch.dtype, tuple[int, ...]]]: ...

    def read(self, name: str) -> Tensor: ...


class PickleStore:
    """A pickle's tensors, which torch has mapped, as a `TensorStore`."""

    def __init__(self, checkpoint: WeightsFile) -> None:
        self.path, self.metadata, self._tensors = checkpoint.path, checkpoint.metadata, checkpoint.tensors
        self.layout = {name: (value.dtype, tuple(value.shape)) for name, value in checkpoint.tensors.items()}

    def read(self, name: str) -> Tensor:
        return self._tensors[name]


@dataclass(frozen=True)
class WeightPlace:
    """Where the weight of one module is.

    Attributes:
        name: of the tensor in the store.
        third: which third of the tensor's rows, where three matrices stand in one; None for all.
        transposed: whether rows and columns are swapped.
    """

    store: TensorStore
    name: str
    third: int | None = None
    transposed: bool = False

    def within(self, tensor: Tensor) -> Tensor:
        """The module's weight, (out, in) or (out, in, k, k): a view of the store's tensor."""
        piece = tensor if self.third is None else tensor.chunk(3)[self.third]
        return piece.T if self.transposed else piece

    def read(self) -> Tensor:
        return self.within(self.store.read(self.name))

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.within(torch.empty(self.store.layout[self.name][1], device="meta")).shape)

    def __str__(self) -> str:
        return f"{self.store.path}: {self.name}"


@dataclass(frozen=True)
class BaseWeights:
    """A base model whose files are found and whose weights have not been read.

    Attributes:
        source: its folder or file.
        stores: by part's folder; a single file's only one is under "".
        places: by a module's canonical name, "<network>.<path>", "text_encoder.text_model.<path>", ...
        version: kohya's name of the kind (`BaseVersion.kohya`); empty if it does not say.
        prediction: "epsilon" or "v_prediction", or empty.
    """

    source: Path
    stores: dict[str, list[TensorStore]]
    places: dict[str, WeightPlace]
    version: str
    prediction: str

    @property
    def parts(self) -> set[str]:
        return {name.split(".")[0] for name in self.places}

    def weight(self, module: str) -> Tensor:
        """A module's weight, (out, in) or (out, in, k, k), as it is stored.

        Raises:
            UserError: there is no such module, or its weight holds numbers that are not finite.
        """
        if module not in self.places:
            fix = "use the base model that the LoRA was trained on"
            raise UserError(f"it has no {module}, which the LoRA adapts", where=self.source, fix=fix)
        tensor = self.places[module].read()
        check_finite(tensor, where=str(self.places[module]))
        return tensor


def open_base(source: Path, config: str | None = None, allow_pickle: bool = False) -> BaseWeights:
    """Find the weights of a folder in diffusers' layout, or of a single file in the original layout.

    Args:
        config: see `schema.model.ModelSettings.config`, for single files of other sizes than the family's.
        allow_pickle: whether a .ckpt may be read.

    Raises:
        UserError: it is not there, incomplete, damaged or no base model.
    """
    if source.is_dir():
        return _in_folder(source)
    if not is_single_file(str(source)):
        fix = "name a folder in diffusers' layout or a .safetensors; a hub's model is fetched with `hf download`"
        what = "neither a folder nor a file of weights" if source.exists() else "no such file or folder"
        raise UserError(what, where=source, fix=fix)
    return _in_file(source, config, allow_pickle)


def _in_folder(source: Path) -> BaseWeights:
    networks = {kind.layout.network: None for kind in list_families()}
    if not any((source / network).is_dir() for network in networks):
        fix = "name the folder with model_index.json in it, or a single .safetensors"
        what = f"no base model in diffusers' layout: there is no folder {' or '.join(networks)} in it"
        raise UserError(what, where=source, fix=fix)
    stores: dict[str, list[TensorStore]] = {}
    places = {}
    for part in ("vae", *list_adapted_parts()):
        folder = source / part
        if folder.is_dir():
            stores[part] = [TensorFile(path) for path in list_weight_files(folder, find_variant(folder))]
    for part in list_adapted_parts():
        for store in stores.get(part, []):
            for name in store.layout:
                if name.endswith(".weight"):
                    places[to_canonical_name(f"{part}.{name.removesuffix('.weight')}")] = WeightPlace(store, name)
    return BaseWeights(source, stores, places, *_folder_kind(source))


def _folder_kind(source: Path) -> tuple[str, str]:
    """Version and prediction."""
    scheduler = source / "scheduler" / "scheduler_config.json"
    for kind in list_families():
        network = source / kind.layout.network / "config.json"
        if network.exists() and scheduler.exists():
            prediction = read_config(scheduler).get("prediction_type", "epsilon")
            if version := kind.version_of(read_config(network), prediction):
                return version.kohya, prediction
    return "", ""


def _in_file(source: Path, config: str | None, allow_pickle: bool) -> BaseWeights:
    checkpoint = open_weights_file(source, allow_pickle)
    version = recognise_file(checkpoint)
    if isinstance(version, str):
        fix = "name a whole Stable Diffusion 1.x, 2.x or XL"
        raise UserError(f"this is {version}", where=source, fix=fix)
    architecture = version.architecture
    store: TensorStore = PickleStore(checkpoint) if source.suffix.lower() in PICKLES else TensorFile(source)
    settings = make_reading_settings(source, version.layout.family, config=config)
    places = {}
    for part in version.layout.networks:
        found = locate_part_tensors(
            checkpoint, borrow_config(settings, architecture, part), architecture.prefixes[part]
        )
        for key, (name, origin) in found.items():
            if key.endswith(".weight"):
                module = to_canonical_name(f"{part}.{key.removesuffix('.weight')}")
                places[module] = WeightPlace(store, name, origin.third, origin.transposed)
    return BaseWeights(source, {"": [store]}, places, *_file_kind(checkpoint, version))


def _file_kind(checkpoint: WeightsFile, version: BaseVersion) -> tuple[str, str]:
    try:
        prediction = find_prediction(checkpoint, version, None, None)
    except UserError:  # a 2.x that does not say; what it predicts changes no weight's place
        return "", ""
    return find_version_predicting(version, prediction).kohya, prediction


def make_reading_settings(source: Path, family: str, **more: Any) -> ModelSettings:
    """Settings of a model that is only read, never drawn with."""
    return ModelSettings(
        family=family,
        path=str(source),
        resolution=512,
        bucket_min=256,
        bucket_max=1024,
        bucket_step=64,
        captioner=Source(path=CLIP),
        clip=Source(path=CLIP),
        **more,
    )
