"""Tensors that are there already, by content key: from the folder's last run, from one that was stopped, and from this
one.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from lorakiln.artefacts.partial_results import PartialResults
from lorakiln.artefacts.tensor_files import MappedTensors, TensorFile, generate_chunks, load_tensors
from lorakiln.console.errors import UserError
from lorakiln.rows import EncodedRow, Index

SUM = "sha256"  # of a kept row's tensors: after a power cut a file may have its length and not its content
PICTURE = ("latent_mean", "latent_std")
EMPTY = "empty.safetensors"


class CachedTensors:
    """Tensors of one kind by key; each key names a row in a file's tensors."""

    def __init__(self, of_kind: Callable[[str], bool]) -> None:
        self._of_kind = of_kind
        self._places: dict[str, tuple[Mapping[str, Tensor], int]] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __getitem__(self, key: str) -> dict[str, Tensor]:
        tensors, row = self._places[key]
        names = list(filter(self._of_kind, tensors))
        if isinstance(tensors, MappedTensors):
            return tensors.read_row(row, names)
        return {name: tensors[name][row] for name in names}

    def put(self, key: str, tensors: Mapping[str, Tensor], row: int) -> None:
        """Say that `key` stands in row `row` of a file's `tensors`, of both kinds."""
        self._places[key] = (tensors, row)


@dataclass(frozen=True)
class TensorCache:
    """What need not be made.

    Attributes:
        beside: the tensors that tell of a picture beside its caption, which are computed and never reused.
    """

    beside: frozenset[str] = frozenset()
    pictures: CachedTensors = field(default_factory=lambda: CachedTensors(lambda name: name in PICTURE))
    captions: CachedTensors = field(init=False)

    def __post_init__(self) -> None:
        others = self.beside.union(PICTURE)
        object.__setattr__(self, "captions", CachedTensors(lambda name: name not in others))


def read_tensor_cache(folder: Path, empty_key: str, beside: frozenset[str] = frozenset()) -> TensorCache:
    """What an encoded folder of an earlier run holds; nothing, if it is absent or damaged.

    Args:
        beside: see `TensorCache`.
        empty_key: the empty caption's key now; the folder's own is in its index.
    """
    known = TensorCache(beside)
    try:
        index = Index.read(folder / "index.json")
        files = [(bucket.file, bucket.rows) for bucket in index.buckets]
        if index.empty == empty_key:
            known.captions.put(empty_key, load_tensors(folder / EMPTY)[0], 0)
        if index.captions and index.captions.texts:
            embedded = _read_whole(folder / index.captions.file, len(index.captions.texts))
            for number, drawn in enumerate(index.captions.texts):
                known.captions.put(drawn.key, embedded, number)
        for tensors, rows in _whole_files(folder, files):
            for number, row in enumerate(rows):
                known.pictures.put(row.key_picture, tensors, number)
                known.captions.put(row.key_caption, tensors, number)
    except FileNotFoundError:
        return TensorCache(beside)
    except (KeyError, TypeError, ValueError, UserError) as error:
        print(f"encode: {folder} is damaged and made again ({error})", flush=True)
        return TensorCache(beside)
    return known


def _whole_files(
    folder: Path, files: list[tuple[str, list[EncodedRow]]]
) -> Iterator[tuple[MappedTensors, list[EncodedRow]]]:
    for name, rows in files:
        tensors = _read_whole(folder / name, len(rows))
        if not set(PICTURE) < set(tensors):
            raise UserError("its rows are not the index's", where=folder / name)
        yield tensors, rows


def _read_whole(path: Path, rows: int) -> MappedTensors:
    tensors = TensorFile(path).map()
    if any(len(value) != rows for value in tensors.values()):
        raise UserError("its rows are not the index's", where=path)
    return tensors


class PartialRow(Mapping[str, Tensor]):
    """The tensors of one picture or caption, read from their file when they are asked for, with a first dimension."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, name: str) -> Tensor:
        return load_tensors(self.path)[0][name][None]

    def __iter__(self) -> Iterator[str]:
        return iter(load_tensors(self.path)[0])

    def __len__(self) -> int:
        return len(load_tensors(self.path)[0])


def write_partial_row(kept: PartialResults, key: str, values: Mapping[str, Tensor]) -> None:
    """Write the tensors of one picture or caption, without its dimension."""
    kept.add(key, lambda path: path.write_bytes(_content(values)))


def add_partial_rows(known: TensorCache, kept: PartialResults) -> None:
    """Put on the shelves what a stage that was stopped had made; what is not as it was written is left out."""
    for key, path in kept.files().items():
        try:
            values, told = load_tensors(path)
        except UserError:
            continue
        if told.get(SUM) == _sum(values):
            cached = known.pictures if set(PICTURE) <= set(values) else known.captions
            cached.put(key, PartialRow(path), 0)


def _content(values: Mapping[str, Tensor]) -> bytes:
    return b"".join(generate_chunks(values, {SUM: _sum(values)}))


def _sum(values: Mapping[str, Tensor]) -> str:
    whole = hashlib.sha256()
    for part in generate_chunks(values, {}):
        whole.update(part)
    return whole.hexdigest()
