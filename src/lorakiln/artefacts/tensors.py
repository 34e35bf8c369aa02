"""Safetensors files whose bytes depend on their content alone.

safetensors' own writer puts `__metadata__` in random order; this one sorts it. Format: 8 bytes little-endian
header length, JSON header padded with spaces to a multiple of 8, then the tensors' bytes
(https://github.com/huggingface/safetensors#format).
"""

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import _tobytes

from lorakiln.console.errors import UserError

_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.bool: "BOOL",
}  # fmt: skip


def save_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors, whole or not at all, with names and metadata sorted.

    Raises:
        ValueError: a metadata value is no string, or a dtype has no name in the format.
        UserError: the disk is full or not writable (the old file, if any, is intact).
    """
    header: dict[str, object] = {}
    if metadata:
        if wrong := [key for key, value in metadata.items() if not isinstance(value, str)]:
            raise ValueError(f"safetensors metadata must be strings: {wrong}")
        header["__metadata__"] = dict(sorted(metadata.items()))
    offset, ordered = 0, sorted(tensors)
    for name in ordered:
        tensor = tensors[name]
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, offset + size],
        }  # fmt: skip
        offset += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(path.name + ".part")
    try:
        with aside.open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for name in ordered:
                file.write(_tobytes(tensors[name].detach().cpu().contiguous(), name))
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise UserError(
            f"cannot write: {error.strerror}", where=path, fix="free disk space or change the folder"
        ) from error


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read all tensors (memory-mapped, on the CPU) and the metadata of a safetensors file.

    Raises:
        UserError: the file is missing, or its header is damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except FileNotFoundError as error:
        raise UserError("no such file", where=path, fix="check the path") from error
    except safetensors.SafetensorError as error:
        raise UserError(
            f"not a readable safetensors file ({error})", where=path, fix="download or make it again"
        ) from error
