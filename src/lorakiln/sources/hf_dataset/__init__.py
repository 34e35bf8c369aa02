"""A Hugging Face dataset on disk: tables with a column of pictures, as the Hub keeps them and `datasets` saves them.

    data/train-00000-of-00001.parquet    of the Hub (`hf download --repo-type dataset`), or of to_parquet
    train/data-00000-of-00001.arrow      of save_to_disk, beside dataset_info.json
    data/train-00000-of-00001/a.txt      a caption file, and a.jpg.edit.yaml a hand edit, that win over the table's

A picture is called as its row's `path`, where all of a table have another, and else by the row's number, in a folder of
the table's name. Where there is a split called train, the others are left aside. The tables are read where they lie.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lorakiln.artefacts.disk import explaining_disk_errors
from lorakiln.artefacts.file_safety import find_obstacle
from lorakiln.sources import CaptionProblem, SourceContents, UnusableFile
from lorakiln.sources.folder.captions import split_lines
from lorakiln.sources.folder.edits import list_edits
from lorakiln.sources.folder.layers import LayeredCaptions
from lorakiln.sources.folder.scan import PULL, finish_contents, holds_pictures
from lorakiln.sources.hf_dataset.table import DamagedTable, Table, open_table

ENDINGS = (".parquet", ".arrow")
TRAINED = "train"
HELD_BACK = {"test", "validation", "valid", "val", "dev", "eval"}


def recognise(raw: Path) -> bool:
    """Whether there are tables in `raw` or below it, and no pictures."""
    return bool(_list_tables(raw)) and not holds_pictures(raw)


def open_source(raw: Path, follow_symlinks: bool) -> "HfDataset":
    return HfDataset(raw, follow_symlinks)


class Place(NamedTuple):
    """Where a picture lies: its table's file below the dataset's folder, and the row."""

    table: str
    row: int


class Index(NamedTuple):
    """What the tables hold.

    Attributes:
        tables: by their files below the dataset's folder, those that are used.
        places: of the pictures.
        bad: tables that cannot be used.
        aside: the splits that are not used, with how many rows there are of each.
    """

    tables: dict[str, Table]
    places: dict[str, Place]
    bad: list[UnusableFile]
    aside: Counter[str]


@dataclass(frozen=True)
class HfDataset:
    """See `sources.PictureSource`."""

    raw: Path
    follow_symlinks: bool

    def scan(self) -> SourceContents:
        """Raises UserError where pyarrow is not installed."""
        index = self._index
        found = SourceContents(
            sorted(index.places), list(index.bad), aside=Counter(index.aside), read_by="by its splits"
        )
        found.remarks = [
            f"captions of {name}: {f'column {table.text}' if table.text else 'none, no column text, caption or prompt'}"
            for name, table in index.tables.items()
        ]
        finish_contents(found, self.raw, list_edits(self.raw), self.follow_symlinks)
        return found

    @contextmanager
    def picture(self, name: str) -> Iterator[Path]:
        """A row's picture as a file; OSError too where the row has none, or its table changed since it was listed."""
        place = self._index.places[name]
        content = self._index.tables[place.table].read_picture(place.row)
        with tempfile.NamedTemporaryFile(suffix=PurePosixPath(name).suffix) as file:
            with explaining_disk_errors(Path(file.name)):
                file.write(content)
                file.flush()
            yield Path(file.name)

    def captions(self, endings: Sequence[str], precedence: Sequence[str]) -> LayeredCaptions:
        return LayeredCaptions(TableCaptions(self._index), self.raw, endings, self.follow_symlinks, precedence)

    @cached_property
    def _index(self) -> Index:
        index, root = Index({}, {}, [], Counter()), self.raw.resolve()
        files = _list_tables(self.raw)
        splits = {name: _find_split(name) for name in files}
        left_out = HELD_BACK if TRAINED in splits.values() else set()
        for name in files:
            path = self.raw / name
            if not path.exists() and path.with_name(f"{path.name}.dvc").exists():
                index.bad.append(UnusableFile(name, "only its DVC pointer is here, not what it stands for", PULL))
                continue
            if obstacle := find_obstacle(path, root, self.follow_symlinks):
                index.bad.append(UnusableFile(name, obstacle.reason, obstacle.fix, obstacle.detail))
                continue
            try:
                table = open_table(path)
                if splits[name] in left_out:
                    index.aside[splits[name]] += table.rows
                    continue
                stem = PurePosixPath(name).with_suffix("").as_posix()
                index.places.update({f"{stem}/{one}": Place(name, row) for row, one in enumerate(table.list_names())})
                index.tables[name] = table
            except DamagedTable as error:
                index.bad.append(UnusableFile(name, error.reason, error.fix, str(error)))
        return index


class TableCaptions:
    """The captions in tables, see `folder.layers.InnerCaptions`."""

    def __init__(self, index: Index) -> None:
        self.index = index

    def holds(self, name: str) -> bool:
        return name in self.index.tables

    def find(self, picture: str, kind: str) -> str | None:
        """Its table, where the row has a caption."""
        place = self.index.places.get(picture)
        if kind != "metadata" or place is None:
            return None
        return place.table if self._read(place) is not None else None

    def read_lines(self, name: str, picture: str) -> list[str] | CaptionProblem:
        text = self._read(self.index.places[picture])
        if isinstance(text, CaptionProblem):
            return text
        fix = "write one into a caption file, or null into the row to have one made"
        return split_lines(text or "") or CaptionProblem(f"{name}: {picture}", "empty", fix)

    def without_picture(self, pictures: Sequence[str]) -> Iterator[str]:
        """None: a row without a picture is told as one that cannot be used."""
        return iter(())

    def _read(self, place: Place) -> str | CaptionProblem | None:
        try:
            return self.index.tables[place.table].texts[place.row]
        except (DamagedTable, FileNotFoundError) as error:
            return CaptionProblem(place.table, "its column of captions cannot be read", "fetch it again", str(error))


def _list_tables(raw: Path) -> list[str]:
    """The tables below a folder, sorted, those too of which only DVC's pointer is there; not the files in which
    `datasets` keeps what it has computed.
    """
    found = set()
    for path in raw.rglob("*"):
        name = path.relative_to(raw).as_posix()
        hidden = any(part.startswith(".") for part in PurePosixPath(name).parts)
        if hidden or path.name.startswith("cache-"):
            continue
        if name.removesuffix(".dvc").endswith(ENDINGS) and not path.is_dir():
            found.add(name.removesuffix(".dvc"))
    return sorted(found)


def _find_split(name: str) -> str:
    """The split of a table, by its name or its folder's: "train", "test"; "" if neither tells."""
    path = PurePosixPath(name)
    names = (path.name.partition("-")[0].partition(".")[0], path.parent.name)
    return next((one for one in names if one == TRAINED or one in HELD_BACK), "")
