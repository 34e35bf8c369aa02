"""One file that holds a whole model: .safetensors, mapped, or an old .ckpt, read without running anything in it."""

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lorakiln.artefacts.tensors import load_tensors
from lorakiln.console.errors import UserError
from lorakiln.families.source import PICKLES, SINGLE_FILES


@dataclass(frozen=True)
class Checkpoint:
    """A file's tensors by name, memory-mapped where the format allows it, and its metadata.

    Attributes:
        metadata: of the safetensors header, such as "modelspec.prediction_type"; empty for a pickle.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, str]


def is_single_file(path: str) -> bool:
    """Whether `path` is meant as a file of weights, there or not; a folder may be called anything."""
    local = Path(path).expanduser()
    return local.suffix.lower() in SINGLE_FILES and not local.is_dir()


def read_checkpoint(path: Path, allow_pickle: bool) -> Checkpoint:
    """Open a file of weights.

    Args:
        allow_pickle: whether pickles may be read; torch then takes tensors and plain values from it and nothing else.

    Raises:
        UserError: it is not there, damaged, a pickle that was not allowed, or one that holds more than tensors.
    """
    if not path.is_file():
        beside = sorted(entry.name for entry in path.parent.glob("*") if entry.suffix.lower() in SINGLE_FILES)
        fix = f"correct the path ({path.parent} holds: {', '.join(beside[:10]) or 'no files of weights'})"
        raise UserError("no such file", where=path, fix=fix)
    if path.suffix.lower() not in PICKLES:
        return Checkpoint(path, *load_tensors(path))
    if not allow_pickle:
        fix = "take the model's .safetensors, or set model.allow_pickle=true (tensors alone are read from it)"
        raise UserError("this is a pickle, a format that can run code when it is read", where=path, fix=fix)
    return _read_pickle(path)


def _read_pickle(path: Path) -> Checkpoint:
    try:
        # Only torch's newer format, a zip file, can be mapped.
        data = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        what = f"it holds more than tensors and is not read ({str(error).splitlines()[0]})"
        raise UserError(what, where=path, fix="take the model's .safetensors") from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        what = f"not a readable checkpoint ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        raise UserError(what, where=path, fix="download it again") from error
    data = data if isinstance(data, dict) else {}
    weights = data.get("state_dict", data)
    tensors = {name: value for name, value in weights.items() if isinstance(value, Tensor)}
    return Checkpoint(path, tensors, {})
