"""The content identity of a base model: equal files, equal identity, wherever they lie."""

import hashlib
import struct
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from lorakiln.artefacts.file_safety import check_regular
from lorakiln.artefacts.hashing import hash_data, hash_file

if TYPE_CHECKING:
    from torch import Tensor

# Gigabytes of weights are not read at every stage. A file beyond WHOLE bytes is known by its size, its header (names,
# shapes and types of all tensors) and three slices: the first, the middle and the last megabyte. Training changes
# practically every weight, so that another model has other slices; an edit made by hand to a few tensors in the middle
# of a large file would pass unseen, and is not worth minutes at every start.
WHOLE = 200_000_000
SLICE = 1_000_000
START = 1_000  # bytes of a tensor
SETTLED = 2_000_000_000  # nanoseconds since a file was changed, after which a further change has other times


def identify(files: Iterable[tuple[str, Path]]) -> str:
    """The identity of named files, 64 hex digits; names are the files' roles, so that a moved model keeps it."""
    return hash_data(sorted([name, hash_quickly(path)] for name, path in files))


def hash_quickly(path: Path, whole: int = WHOLE) -> str:
    """SHA-256 of a file's bytes up to `whole` bytes, of size, header and three slices beyond that."""
    check_regular(path)
    told = path.stat()
    # A stage finds a base several times. A file that was changed this very moment may be changed again within one
    # tick of its times.
    settled = time.time_ns() - told.st_ctime_ns > SETTLED
    hashing = _hash_once if settled else _hash_once.__wrapped__
    return hashing(path, whole, told.st_size, told.st_ino, told.st_mtime_ns, told.st_ctime_ns)


@lru_cache(maxsize=256)
def _hash_once(path: Path, whole: int, size: int, *state: int) -> str:
    """See `hash_quickly`; `state`: what changes with the file."""
    if size <= whole:
        return hash_file(path)
    digest = hashlib.sha256(struct.pack("<Q", size))
    with path.open("rb") as file:
        # safetensors: 8 bytes little-endian header length, then the header.
        length = file.read(8)
        header = struct.unpack("<Q", length)[0]
        digest.update(length + file.read(min(header, size)))
        for start in (8 + header, (size - SLICE) // 2, size - SLICE):
            file.seek(min(start, size))
            digest.update(file.read(SLICE))
    return digest.hexdigest()


def identify_tensors(tensors: "Mapping[str, Tensor]") -> str:
    """The identity of mapped tensors, 64 hex digits, in whatever file they are.

    Names, shapes, types and bytes: all of them up to `WHOLE` bytes in all, the first `START` of every tensor beyond.
    A whole model's file needs more than three slices: files differ in their VAE alone.
    """
    import torch

    whole = sum(value.nbytes for value in tensors.values()) <= WHOLE
    digest = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        count = value.numel() if whole else min(value.numel(), START // value.itemsize)
        digest.update(f"{name} {tuple(value.shape)} {value.dtype};".encode())
        digest.update(value.reshape(-1)[:count].view(torch.uint8).numpy().data)
    return digest.hexdigest()
