"""Files of weights: .safetensors, mapped, one or a folder's shards; old .ckpt, read without running what is in it."""

import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from lorakiln.artefacts.file_safety import check_regular
from lorakiln.artefacts.tensor_files import TensorFile, load_tensors
from lorakiln.console.errors import UserError
from lorakiln.families.model_source import PICKLES, SINGLE_FILES


@dataclass(frozen=True)
class WeightsFile:
    """Tensors by name, memory-mapped where the format allows it, and their file's metadata.

    Attributes:
        path: the file, or the folder of shards.
        metadata: of the safetensors header, such as "modelspec.prediction_type"; empty for a pickle and for shards.
        files: the safetensors files that hold the tensors; empty for a pickle.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]
    files: Sequence[Path] = ()

    def read(self, name: str, dtype: torch.dtype) -> Tensor:
        """One of the tensors as another dtype.

        Of a safetensors file it is read beside the mapping, whose pages, once touched, would count as this process's
        for as long as any tensor of the file is there.
        """
        file = self._readers.get(name)
        return self.tensors[name].to(dtype) if file is None else file.read(name, dtype)

    @cached_property
    def _readers(self) -> dict[str, TensorFile]:
        return {name: file for file in map(TensorFile, self.files) for name in file.layout}


def is_single_file(path: str) -> bool:
    """Whether `path` is meant as a file of weights, there or not; a folder may be called anything."""
    local = Path(path).expanduser()
    return local.suffix.lower() in SINGLE_FILES and not local.is_dir()


def open_weights_file(path: Path, allow_pickle: bool) -> WeightsFile:
    """Open a file of weights.

    Args:
        allow_pickle: whether pickles may be read; torch then takes tensors and plain values from it and nothing else.

    Raises:
        UserError: it is not there, damaged, a pickle that was not allowed, or one that holds more than tensors.
    """
    check_regular(path)
    if not path.is_file():
        beside = sorted(entry.name for entry in path.parent.glob("*") if entry.suffix.lower() in SINGLE_FILES)
        fix = f"correct the path ({path.parent} holds: {', '.join(beside[:10]) or 'no files of weights'})"
        raise UserError("no such file", where=path, fix=fix)
    if path.suffix.lower() not in PICKLES:
        return WeightsFile(path, *load_tensors(path), [path])
    if not allow_pickle:
        fix = "take the model's .safetensors, or set model.allow_pickle=true (tensors alone are read from it)"
        raise UserError("this is a pickle, a format that can run code when it is read", where=path, fix=fix)
    return _read_pickle(path)


def open_shards(folder: Path, files: Sequence[Path]) -> WeightsFile:
    """Open the safetensors files that together hold a part of a model; UserError if one is missing or damaged."""
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= load_tensors(file)[0]
    return WeightsFile(folder, tensors, {}, files)


def _read_pickle(path: Path) -> WeightsFile:
    try:
        # Only torch's newer format, a zip file, can be mapped.
        data = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        # The rest of what torch says is how to run what is in it.
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"it holds more than tensors{f' ({named[1]})' if named else ''} and is not read"
        raise UserError(what, where=path, fix="take the model's .safetensors") from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        said = str(error).splitlines()[0] if str(error) and "weights_only" not in str(error) else type(error).__name__
        what = f"not a readable checkpoint ({said})"
        raise UserError(what, where=path, fix="download it again") from error
    data = data if isinstance(data, dict) else {}
    weights = data.get("state_dict", data)
    tensors = {name: value for name, value in weights.items() if isinstance(value, Tensor)}
    return WeightsFile(path, tensors, {})
