"""A table of pictures, a parquet or an arrow file (the features of the library `datasets`, read by pyarrow alone)."""

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from lorakiln.libraries import import_pyarrow
from lorakiln.sources.folder.metadata import TEXTS

NAMED = "image"  # the column of pictures, where there are several
BYTES, PATH = "bytes", "path"  # of a picture's struct
LONGEST = 200  # letters of what pyarrow says


class DamagedTable(Exception):
    """A table that cannot be used; `reason` are the same words for all of its kind."""

    def __init__(self, reason: str, fix: str, detail: str = "") -> None:
        super().__init__(detail)
        self.reason, self.fix = reason, fix


@dataclass(frozen=True)
class Table:
    """One file.

    Attributes:
        rows: how many it has.
        column: of the pictures; `is_struct`: whether that has bytes and a path, or is of bytes.
        text: the column of the captions; None: it has none.
        groups: the first row of each part that is read at once.
        state: of the file when it was opened, its time in ns and its size.
    """

    path: Path
    rows: int
    column: str
    is_struct: bool
    text: str | None
    groups: tuple[int, ...]
    state: tuple[int, int]

    def list_names(self) -> list[str]:
        """The rows' pictures: the last part of each path where no two are equal but for the ending, else numbers;
        raises DamagedTable.
        """
        with _explaining_damage():
            paths = _read_column(self.path, f"{self.column}.{PATH}") if self.is_struct else []
        names = [PurePosixPath(path.replace("\\", "/")).name if path else "" for path in paths]
        if names and all(names) and len({PurePosixPath(name).stem.casefold() for name in names}) == len(names):
            return names
        return [f"{row:06}" for row in range(self.rows)]

    @cached_property
    def texts(self) -> list[str | None]:
        """The rows' captions; raises DamagedTable."""
        with _explaining_damage():
            return _read_column(self.path, self.text) if self.text else [None] * self.rows

    def read_picture(self, row: int) -> bytes:
        """A row's file.

        Raises:
            OSError: the row has none, or the table is another than when it was opened.
        """
        if _read_state(self.path) != self.state:
            raise FileNotFoundError(self.path)
        group = max(number for number, first in enumerate(self.groups) if first <= row)
        try:
            with _explaining_damage():
                pictures = _read_group(self.path, self.state, self.column, self.is_struct, group)
                content = pictures[row - self.groups[group]].as_py()
        except DamagedTable as error:
            raise OSError(errno.EIO, f"its table is damaged: {error}") from error
        if content is None:
            raise OSError(errno.ENODATA, "the row has no picture in it, at most a path: save it with the pictures")
        return bytes(content)


def open_table(path: Path) -> Table:
    """Look at a table's columns.

    Raises:
        DamagedTable: it is damaged, or it is not clear which of its columns are pictures.
        UserError: pyarrow is not installed.
    """
    with _explaining_damage():
        schema, starts, rows = _read_layout(path)
        pictures = [field for field in schema if _holds_pictures(field, schema.metadata)]
    if len(pictures) != 1 and NAMED not in [field.name for field in pictures]:
        names = ", ".join(field.name for field in pictures or schema)
        what = "several columns of pictures" if pictures else "no column of pictures"
        fix = f"call the one to be trained on {NAMED}" if pictures else "put another table there, or remove it"
        raise DamagedTable(what, fix, names)
    column = next((field for field in pictures if field.name == NAMED), pictures[0])
    pa = import_pyarrow(str(path))
    texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    text = next((name for name in TEXTS if name in texts), None)
    is_struct = pa.types.is_struct(column.type)
    return Table(path, rows, column.name, is_struct, text, starts, _read_state(path))


@contextmanager
def _explaining_damage() -> Iterator[None]:
    """What pyarrow says of a damaged file, as DamagedTable."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (ValueError, OSError) as error:  # pyarrow's own errors are of these
        reason = " ".join(str(error).split())[:LONGEST]
        raise DamagedTable("no whole table", "fetch or save it again", reason) from error


def _read_layout(path: Path) -> tuple[Any, tuple[int, ...], int]:
    """The schema, the first row of each part, and the rows."""
    if path.suffix == ".arrow":
        table = _map_arrow(path)
        counts = [table.num_rows]
        schema = table.schema
    else:
        file = _open_parquet(path)
        counts = [file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups)]
        schema = file.schema_arrow
    starts = [sum(counts[:number]) for number in range(len(counts))]
    return schema, tuple(starts), sum(counts)


def _holds_pictures(field: Any, metadata: dict[bytes, bytes] | None) -> bool:
    """Whether a column is one of pictures: as the library's features say, else by its type."""
    pa = import_pyarrow(field.name)
    features = json.loads((metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    if field.name in features:
        return isinstance(features[field.name], dict) and features[field.name].get("_type") == "Image"
    if pa.types.is_struct(field.type):
        return {BYTES, PATH} <= {field.type.field(number).name for number in range(field.type.num_fields)}
    return field.name == NAMED and bool(pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type))


def _read_column(path: Path, column: str) -> list[str | None]:
    """All of a column of text, "image.path" for a field of a struct."""
    name, _, inner = column.partition(".")
    values = (
        _map_arrow(path).column(name) if path.suffix == ".arrow" else _open_parquet(path).read([column]).column(name)
    )
    found = [one if not inner or one is None else one.get(inner) for one in _iterate(values, inner)]
    return [one if isinstance(one, str) else None for one in found]


def _iterate(values: Any, inner: str) -> Iterator[Any]:
    """The values of a column, of a struct's one field alone: its bytes are not looked at."""
    for chunk in values.chunks:
        if inner:
            yield from ({inner: one} for one in chunk.field(inner).to_pylist())
        else:
            yield from chunk.to_pylist()


@lru_cache(maxsize=1)  # pictures are read in the order in which they lie
def _read_group(path: Path, state: tuple[int, int], column: str, is_struct: bool, group: int) -> Any:
    """The bytes of a part's pictures."""
    if path.suffix == ".arrow":
        values = _map_arrow(path).column(column)
    else:
        values = (
            _open_parquet(path).read_row_group(group, [f"{column}.{BYTES}" if is_struct else column]).column(column)
        )
    pa = import_pyarrow(str(path))
    return pa.chunked_array([chunk.field(BYTES) for chunk in values.chunks]) if is_struct else values


def _map_arrow(path: Path) -> Any:
    """A table of save_to_disk, mapped: nothing of it is in memory that is not looked at."""
    pa = import_pyarrow(str(path))
    return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()


def _open_parquet(path: Path) -> Any:
    return import_pyarrow(str(path)).parquet.ParquetFile(path)


def _read_state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
