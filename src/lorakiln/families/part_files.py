"""Where one part of a model (VAE, text encoder, network) is, and loading it: from its folder, or from a single file."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from lorakiln.artefacts.tensor_files import read_metadata
from lorakiln.console.errors import UserError
from lorakiln.families.config_ranges import check_folder, read_values
from lorakiln.families.identity import identify_tensors
from lorakiln.families.model_source import list_weight_files, select_whole_set
from lorakiln.families.part_tensors import make_empty_part, to_part_tensors
from lorakiln.families.versions import Config
from lorakiln.families.weights_file import WeightsFile, open_shards


class PartFiles(Protocol):
    """One part of a found model.

    Attributes:
        where: its folder or file, for messages.
        config: its config.json.
    """

    @property
    def where(self) -> Path: ...

    @property
    def config(self) -> Config: ...

    def check(self) -> None:
        """Raise UserError if its files are missing, cut off or no weights at all; no tensor is read."""
        ...

    def load(self, kind: type, dtype: torch.dtype) -> nn.Module:
        """An instance of `kind`, on the CPU; weights that have the dtype already stay mapped from the file.

        Raises:
            UserError: the files are missing, damaged, or of another shape than their config says.
        """
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Its mapped weights under the names that folders have, level "text_model" included.

        Raises:
            UserError: as `load`.
        """
        ...

    def files(self) -> list[Path]:
        """The files that decide what the part does, where they are its own."""
        ...

    def facts(self) -> Any:
        """What decides it where they are not: JSON-able, None if they are."""
        ...


class FolderPart:
    """A part in a folder of its own, as diffusers and transformers save it."""

    def __init__(self, folder: Path, variant: str | None) -> None:
        self.where, self.variant = folder, variant
        self.config = read_values(folder / "config.json")

    def check(self) -> None:
        for file in select_whole_set(self.where, self.variant):
            read_metadata(file)

    def load(self, kind: type, dtype: torch.dtype) -> nn.Module:
        # People's folders do not always name the class, or name one that has the same tensors and more.
        config = {**self.config, **describe_class(kind)}
        with explaining_load_errors(self.where):
            return load_part(kind, config, self._weights, "", dtype)

    def tensors(self) -> dict[str, Tensor]:
        with explaining_load_errors(self.where):
            return to_part_tensors(self._weights, self.config, "")

    def files(self) -> list[Path]:
        return [self.where / "config.json", *list_weight_files(self.where, self.variant)]

    def facts(self) -> Any:
        return None

    @cached_property
    def _weights(self) -> WeightsFile:
        return open_shards(self.where, select_whole_set(self.where, self.variant))


class SinglePart:
    """A part among others in a single file."""

    def __init__(self, checkpoint: WeightsFile, prefix: str, config: Config) -> None:
        self.where, self.checkpoint, self.prefix, self.config = checkpoint.path, checkpoint, prefix, config

    def check(self) -> None:
        """Whoever opened the checkpoint has looked."""

    def load(self, kind: type, dtype: torch.dtype) -> nn.Module:
        with explaining_load_errors(self.where):
            return load_part(kind, self.config, self.checkpoint, self.prefix, dtype)

    def tensors(self) -> dict[str, Tensor]:
        with explaining_load_errors(self.where):
            return to_part_tensors(self.checkpoint, self.config, self.prefix)

    def files(self) -> list[Path]:
        return []

    def facts(self) -> Any:
        mine = {name: value for name, value in self.checkpoint.tensors.items() if name.startswith(self.prefix)}
        return [identify_tensors(mine), dict(self.config)]


def load_part(kind: type, config: Config, weights: WeightsFile, prefix: str, dtype: torch.dtype) -> nn.Module:
    """The part's class with the file's tensors as its weights: what has the dtype already is not copied.

    Mapped ones stay the file's own pages, which the process sees privately: what is written to them does not reach
    the file.

    Args:
        kind: the class; transformers' makes its own buffers, which files lack.
        prefix: see `to_part_tensors`.

    Raises:
        UserError: as `to_part_tensors`.
    """
    with torch.device("meta"):
        module = make_empty_part(config)
    tensors = to_part_tensors(weights, config, prefix, dtype, module)
    if issubclass(kind, PreTrainedModel):
        assert kind.config_class is not None  # only the abstract class has none
        return kind.from_pretrained(
            None, config=kind.config_class.from_dict(dict(config)), state_dict=tensors, dtype=dtype
        )
    module.load_state_dict(tensors, assign=True)
    return module


def make_hollow_part(config: Config, kind: type, dtype: torch.dtype) -> nn.Module:
    """A part as it is when it is loaded, frozen, on the meta device, where tensors have no numbers.

    Args:
        kind: the class, which people's configs do not always name.
    """
    with torch.device("meta"):
        module = make_empty_part({**config, **describe_class(kind)})
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = tensor.data.to(dtype) if tensor.is_floating_point() else tensor.data
    return module.eval().requires_grad_(False)


def describe_class(kind: type) -> dict[str, Any]:
    """What a config says of its class."""
    return {"architectures": [kind.__name__]} if issubclass(kind, PreTrainedModel) else {"_class_name": kind.__name__}


def load_from_folder(kind: Any, folder: Path, **options: Any) -> Any:
    """`kind.from_pretrained` of a local folder; a class of diffusers or transformers, most of which have it.

    Raises:
        UserError: it cannot be loaded, whatever the libraries say.
    """
    with explaining_load_errors(folder):
        check_folder(folder)
        return kind.from_pretrained(folder, local_files_only=True, **options)


@contextmanager
def explaining_load_errors(folder: Path) -> Iterator[None]:
    """Turn what goes wrong when a folder is loaded into a UserError about it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # safetensors, transformers and diffusers raise whatever they like here
        fix = "the model's files are incomplete or damaged: download it again"
        raise UserError(f"cannot be loaded ({error})", where=folder, fix=fix) from error
