"""Where one part of a model (VAE, text encoder, UNet) is, and loading it: from its folder, or from a single file."""

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import CLIPTextConfig, PreTrainedModel

from lorakiln.artefacts.tensors import load_tensors
from lorakiln.console.errors import UserError
from lorakiln.families.architectures import Config
from lorakiln.families.checkpoint import Checkpoint
from lorakiln.families.identity import identify_tensors
from lorakiln.families.parts import empty, file_name, part_tensors
from lorakiln.families.source import kept_variant, read_config, weight_files


class PartFiles(Protocol):
    """One part of a found model.

    Attributes:
        where: its folder or file, for messages.
        config: its config.json.
    """

    where: Path
    config: Config

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
        self.config = read_config(folder / "config.json")

    def load(self, kind: type, dtype: torch.dtype) -> nn.Module:
        # transformers' and diffusers' names for the same thing.
        precision = "dtype" if issubclass(kind, PreTrainedModel) else "torch_dtype"
        options = {precision: dtype, "use_safetensors": True, "variant": kept_variant(self.where, self.variant)}
        return from_folder(kind, self.where, **options)

    def tensors(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for path in weight_files(self.where, self.variant):
            found |= {file_name(name, self.config): value for name, value in load_tensors(path)[0].items()}
        return found

    def files(self) -> list[Path]:
        return [self.where / "config.json", *weight_files(self.where, self.variant)]

    def facts(self) -> Any:
        return None


class SinglePart:
    """A part among others in a single file."""

    def __init__(self, checkpoint: Checkpoint, prefix: str, config: Config) -> None:
        self.where, self.checkpoint, self.prefix, self.config = checkpoint.path, checkpoint, prefix, config

    def load(self, kind: type, dtype: torch.dtype) -> nn.Module:
        tensors = self.tensors()
        if issubclass(kind, PreTrainedModel):
            config = CLIPTextConfig(**self.config)
            return kind.from_pretrained(None, config=config, state_dict=tensors, dtype=dtype)
        with torch.device("meta"):
            module = empty(self.config)
        # Assigned, not copied: what has the dtype already is the file's own pages.
        module.load_state_dict({name: value.to(dtype) for name, value in tensors.items()}, assign=True)
        return module

    def tensors(self) -> dict[str, Tensor]:
        return part_tensors(self.checkpoint, self.config, self.prefix)

    def files(self) -> list[Path]:
        return []

    def facts(self) -> Any:
        mine = {name: value for name, value in self.checkpoint.tensors.items() if name.startswith(self.prefix)}
        return [identify_tensors(mine), dict(self.config)]


def from_folder(kind: type, folder: Path, **options: Any) -> Any:
    """`kind.from_pretrained` of a local folder.

    Raises:
        UserError: it cannot be loaded, whatever the libraries say.
    """
    try:
        return kind.from_pretrained(folder, local_files_only=True, **options)
    except Exception as error:  # safetensors, transformers and diffusers raise whatever they like here
        fix = "the model's files are incomplete or damaged: download it again"
        raise UserError(f"cannot be loaded ({error})", where=folder, fix=fix) from error
