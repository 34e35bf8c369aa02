"""Safetensors files whose bytes depend on their content alone.

safetensors' own writer puts `__metadata__` in random order; this one sorts it. Format: 8 bytes little-endian
header length, JSON header padded with spaces to a multiple of 8, then the tensors' bytes
(https://github.com/huggingface/safetensors#format).
"""

import json
import math
import mmap
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import numpy as np
import safetensors
import torch

from lorakiln.artefacts.atomic_file import replacing_file
from lorakiln.artefacts.disk import explaining_disk_errors
from lorakiln.artefacts.file_safety import check_regular
from lorakiln.artefacts.fsync import sync_names
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError

LARGEST_HEADER = 100_000_000  # bytes, the library's own limit
# What stands in the place of such a file by its first bytes, and what to do then.
OTHERS = {
    b"version https://git-lfs.github.com/spec/": ("a Git LFS pointer instead of the file", "run `git lfs pull`"),
    b"<": ("a web page instead of the file", "download it again, logged in where the site asks for it"),
    b"GGUF": ("a GGUF file, whose weights are for drawing alone", "take the model's safetensors"),
}
MOST_KEYS = 10_000  # of metadata: sd-scripts writes about a hundred
HELD = 1 << 24  # bytes of a mapped file that are read or written before its pages are let go
Layout = Mapping[str, tuple[torch.dtype, Sequence[int]]]
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}  # by what settings call them
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}


def save_tensors(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write named tensors, whole or not at all, with names and metadata sorted.

    Args:
        dtype: of the written floats, cast one tensor at a time; None: as they are.

    Raises:
        ValueError: a metadata value is no string, or a dtype has no name in the format.
        UserError: the disk is full or not writable (the old file, if any, is intact).
    """
    stream_tensors(path, _layout(tensors, dtype), tensors.__getitem__, metadata)


def stream_tensors(
    path: Path, layout: Layout, read: Callable[[str], torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """As `save_tensors`, but each tensor is asked for when it is its turn and dropped when it is written.

    Args:
        layout: (dtype, shape) by name; what is read is cast to it.
        read: the tensor of a name; they are asked for in the order of their names.

    Raises:
        ValueError: also if a tensor has another shape than the layout says.
    """
    with explaining_disk_errors(path), replacing_file(path) as beside:
        with beside.open("wb") as file:
            for chunk in _chunks(layout, read, metadata or {}):
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        sync_names(path.parent)


def generate_chunks(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """The bytes that `save_tensors` writes: the header, then one tensor after the other; raises its ValueErrors."""
    return _chunks(_layout(tensors, None), tensors.__getitem__, metadata)


def _chunks(
    layout: Layout, read: Callable[[str], torch.Tensor], metadata: Mapping[str, str]
) -> Iterator[bytes | memoryview]:
    yield _header(layout, metadata)[0]
    for name in sorted(layout):
        dtype, shape = layout[name]
        value = read(name)
        if tuple(value.shape) != tuple(shape):
            raise ValueError(f"{name} has the shape {tuple(value.shape)}, {tuple(shape)} was announced")
        yield _bytes(value.to(dtype))
        del value  # or it would be in memory beside the next one


def _layout(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype | None) -> Layout:
    def written(value: torch.Tensor) -> torch.dtype:
        return dtype if dtype and value.is_floating_point() else value.dtype

    return {name: (written(value), value.shape) for name, value in tensors.items()}


class MappedTensors(dict[str, torch.Tensor]):
    """Tensors that are a file's bytes, of which no more stays in memory than has been asked for of late.

    Args:
        mapping: of the whole file; where it is private, its tensors are not to be written to.
        layout: (dtype, shape) by name.
        begins: where in the file each tensor does, bytes.
    """

    def __init__(self, mapping: mmap.mmap, layout: Layout, begins: Mapping[str, int]) -> None:
        self._mapping, self._passed = mapping, 0
        whole = np.frombuffer(mapping, np.uint8)
        for name, (dtype, shape) in layout.items():
            flat = torch.from_numpy(whole[begins[name] : begins[name] + math.prod(shape) * dtype.itemsize])
            self[name] = flat.view(dtype).view(tuple(shape))

    def write_row(self, number: int, values: Mapping[str, torch.Tensor]) -> None:
        """Give row `number` of some tensors their values, without the first dimension."""
        for name, value in values.items():
            self[name][number] = value
        self._pass(values)

    def read_row(self, number: int, names: Iterable[str]) -> dict[str, torch.Tensor]:
        """Row `number` of some tensors, still the file's own bytes."""
        values = {name: self[name][number] for name in names}
        self._pass(values)
        return values

    def let_go(self) -> None:
        """Take no memory until something is asked for: the system keeps what was written, and reads it again."""
        self._mapping.madvise(mmap.MADV_DONTNEED)
        self._passed = 0

    def _pass(self, values: Mapping[str, torch.Tensor]) -> None:
        self._passed += sum(value.nbytes for value in values.values())
        if self._passed > HELD:
            self.let_go()


@contextmanager
def mapped_tensors(path: Path, layout: Layout) -> Iterator[MappedTensors]:
    """Yield tensors of zeros to be filled in place, which are the file itself: more than memory holds can be written.

    The bytes are those that `save_tensors` writes; the file takes its name when the block ends without an error.

    Raises:
        UserError: as `save_tensors`; the space is reserved first, since a full disk under a mapping kills the process.
    """
    text, offsets = _header(layout, {})
    with explaining_disk_errors(path), replacing_file(path) as beside:
        with beside.open("wb") as file:
            file.write(text)
            file.flush()
            if offsets["end"]:
                os.posix_fallocate(file.fileno(), len(text), offsets["end"])
        with beside.open("r+b") as file:
            mapping = mmap.mmap(file.fileno(), 0)
        tensors = MappedTensors(mapping, layout, {name: len(text) + offsets[name] for name in layout})
        yield tensors
        mapping.flush()
        tensors.let_go()
        os.replace(beside, path)
        sync_names(path.parent)


def _header(layout: Layout, metadata: Mapping[str, str]) -> tuple[bytes, dict[str, int]]:
    """The bytes before the tensors, and where each tensor begins behind them; "end" is where the last one ends."""
    header: dict[str, object] = {}
    if metadata:
        if wrong := [key for key, value in metadata.items() if not isinstance(value, str)]:
            raise ValueError(f"safetensors metadata must be strings: {wrong}")
        header["__metadata__"] = dict(sorted(metadata.items()))
    offsets, offset = {}, 0
    for name in sorted(layout):
        dtype, shape = layout[name]
        size = math.prod(shape) * dtype.itemsize
        header[name] = {
            "dtype": _DTYPES[dtype],
            "shape": list(shape),
            "data_offsets": [offset, offset + size],
        }
        offsets[name], offset = offset, offset + size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, offsets | {"end": offset}


def _bytes(tensor: torch.Tensor) -> memoryview:
    # By way of uint8, since numpy has no bfloat16.
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def load_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read all tensors (memory-mapped, on the CPU) and the metadata of a safetensors file.

    Raises:
        UserError: the file is missing or cannot be read, or its header is damaged.
    """
    with explaining_damage(path), safetensors.safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file; raises UserError as `load_tensors` does."""
    with explaining_damage(path), safetensors.safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


class TensorFile:
    """A safetensors file whose tensors are read one at a time: none stays in memory, nor mapped into it.

    Attributes:
        layout: (dtype, shape) by name.

    Raises:
        UserError: the file is missing, its header is damaged, or it holds a kind of number that torch has not.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with explaining_damage(path):
            # The library checks the whole header, and that the file is as long as it says.
            with safetensors.safe_open(path, framework="pt") as file:
                self.metadata: dict[str, str] = dict(file.metadata() or {})
            with path.open("rb") as file:
                size = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(size))
        header.pop("__metadata__", None)
        dtypes = {name: dtype for dtype, name in _DTYPES.items()}
        if unknown := sorted({one["dtype"] for one in header.values()} - set(dtypes)):
            fix = "get it in fp16, bf16 or fp32"
            raise UserError(f"it holds numbers of the kind {unknown[0]}, which is not known here", where=path, fix=fix)
        self.layout = {name: (dtypes[one["dtype"]], tuple(one["shape"])) for name, one in header.items()}
        self._begins = {name: 8 + size + one["data_offsets"][0] for name, one in header.items()}

    def read(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """One tensor, the caller's own.

        Args:
            dtype: of the answer; None: as it is stored. What is converted is read through a mapping whose pages are
                let go at once: nothing is copied but by the conversion, and nothing stays.

        Raises:
            UserError: the file has become shorter since it was opened.
        """
        stored, shape = self.layout[name]
        begin, size = self._begins[name], math.prod(shape) * stored.itemsize
        if not size:
            return torch.empty(shape, dtype=dtype or stored)
        if self.path.stat().st_size < begin + size:
            raise UserError("it ends before its tensors do", where=self.path, fix="download or make it again")
        if dtype in (None, stored):
            with self.path.open("rb") as file:
                file.seek(begin)
                flat = np.fromfile(file, np.uint8, size)
            return torch.from_numpy(flat).view(stored).view(shape)
        mapped = torch.frombuffer(self._mapping, dtype=torch.uint8, count=size, offset=begin)
        found = mapped.view(stored).view(shape).to(dtype)
        first = begin // mmap.PAGESIZE * mmap.PAGESIZE
        self._mapping.madvise(mmap.MADV_DONTNEED, first, begin + size - first)
        return found

    def map(self) -> MappedTensors:
        """All tensors as they are stored, to be read row by row."""
        return MappedTensors(self._mapping, self.layout, self._begins)

    @cached_property
    def _mapping(self) -> mmap.mmap:
        with self.path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # torch warns of what cannot be written to


@contextmanager
def explaining_damage(path: Path) -> Iterator[None]:
    """Turn what goes wrong when a safetensors file is opened into a UserError about `path`.

    What the library lets through is refused first: what is no file (a pipe would be waited for without end), two
    tensors of one name, of which programs take one or the other, and metadata of a size that no program writes.
    """
    check_regular(path)
    try:
        if path.is_dir():
            raise IsADirectoryError("a folder")
        _check_header(path)
        yield
    except FileNotFoundError as error:
        raise UserError("no such file", where=path, fix="check the path") from error
    except safetensors.SafetensorError as error:
        said = f"not a readable safetensors file ({error})", "download or make it again"
        with path.open("rb") as file:
            begin = file.read(50)
        what, fix = next((told for sign, told in OTHERS.items() if begin.startswith(sign)), said)
        raise UserError(what, where=path, fix=fix) from error
    except OSError as error:
        raise UserError(f"cannot be read ({error})", where=path, fix="name a .safetensors file") from error


def _check_header(path: Path) -> None:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        text = file.read(min(size, LARGEST_HEADER))
    try:
        header = json.loads(text, object_pairs_hook=_single)
    except (ValueError, RecursionError):
        return  # the library says what is wrong with it
    if isinstance(header, _Twice):
        fix = "make the file again; programs would take one or the other"
        raise UserError(f"two of its tensors are called {header.name}", where=path, fix=fix)
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if isinstance(metadata, dict) and len(metadata) > MOST_KEYS:
        what = f"its metadata has {format_count(len(metadata), 'key', ',')}, and {MOST_KEYS:,} are read at most"
        raise UserError(what, where=path, fix="write it without them")


class _Twice:
    """In the place of an object in which two objects have one name."""

    def __init__(self, name: str) -> None:
        self.name = name


def _single(pairs: list[tuple[str, object]]) -> object:
    names = [name for name, value in pairs if isinstance(value, dict)]
    if len(names) == len(set(names)):
        return dict(pairs)
    return _Twice(next(name for name, count in Counter(names).items() if count > 1))
