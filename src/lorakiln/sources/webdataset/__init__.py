"""WebDataset: shards, *.tar, each read as the folder that it would unpack to; nothing is unpacked.

    train-000.tar: a.jpg, a.txt     the picture train-000/a.jpg and its caption
    train-000.tar: a.json           its `text`, `caption` or `prompt` as metadata, or a booru's tags
    train-000/a.txt                 a caption file, and train-000/a.jpg.edit.yaml a hand edit, that win over the shard's

What belongs together has the same name up to the first dot (github.com/webdataset/webdataset): beside a.jpg,
a.depth.png is another field of the sample, and no picture of the dataset.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from lorakiln.artefacts.disk import explaining_disk_errors
from lorakiln.artefacts.file_safety import find_obstacle
from lorakiln.sources import SourceContents, UnusableFile
from lorakiln.sources.folder.edits import list_edits
from lorakiln.sources.folder.layers import LayeredCaptions
from lorakiln.sources.folder.masks import split_masks
from lorakiln.sources.folder.scan import FOREIGN, PICTURES, PULL, finish_contents, holds_pictures, is_picture
from lorakiln.sources.webdataset.captions import ShardCaptions
from lorakiln.sources.webdataset.shard import Member, list_members

ENDING, POINTER = ".tar", ".tar.dvc"
LISTED = 5  # samples without a picture


def recognise(raw: Path) -> bool:
    """Whether there are shards in `raw`, and no pictures beside them or in folders below."""
    return bool(_list_shards(raw)) and not holds_pictures(raw)


def open_source(raw: Path, follow_symlinks: bool) -> "WebDataset":
    return WebDataset(raw, follow_symlinks)


class Place(NamedTuple):
    """Where a member lies.

    Attributes:
        shard: the file's name in the dataset's folder.
        state: of that file when it was listed, its time in ns and its size.
    """

    shard: str
    state: tuple[int, int]
    member: Member


@dataclass(frozen=True)
class WebDataset:
    """See `sources.PictureSource`."""

    raw: Path
    follow_symlinks: bool

    def scan(self) -> SourceContents:
        places, bad = self._index
        found = SourceContents(bad=list(bad))
        fields, pictures = _list_fields(places), []
        for name in sorted(places):
            ending = os.path.splitext(name)[1].lower()
            if name in fields:
                found.others["." + PurePosixPath(name).name.partition(".")[2]] += 1
            elif ending in FOREIGN:
                found.bad.append(UnusableFile(name, *FOREIGN[ending]))
            elif ending in PICTURES:
                pictures.append(name)
            else:
                found.others[ending] += 1
        found.pictures, found.masks, found.lonely_masks = split_masks(pictures)
        found.remarks = _tell_incomplete(places, found.bad, pictures)
        finish_contents(found, self.raw, list_edits(self.raw), self.follow_symlinks)
        return found

    @contextmanager
    def picture(self, name: str) -> Iterator[Path]:
        """A member as a file of its own; FileNotFoundError too where its shard is another than the one listed."""
        place = self._index[0].get(name)
        if place is None or _read_state(self.raw / place.shard) != place.state:
            raise FileNotFoundError(name)
        with tempfile.NamedTemporaryFile(suffix=PurePosixPath(name).suffix) as file:
            with explaining_disk_errors(Path(file.name)), (self.raw / place.shard).open("rb") as shard:
                shard.seek(place.member.start)
                file.write(shard.read(place.member.size))
                file.flush()
            yield Path(file.name)

    def read(self, name: str, most: int) -> bytes:
        """The first bytes of a member.

        Raises:
            OSError: its shard cannot be read.
        """
        place = self._index[0][name]
        with (self.raw / place.shard).open("rb") as shard:
            shard.seek(place.member.start)
            return shard.read(min(most, place.member.size))

    def captions(self, endings: Sequence[str], precedence: Sequence[str]) -> LayeredCaptions:
        inner = ShardCaptions(self.raw, self._index[0], self.read, endings, precedence)
        return LayeredCaptions(inner, self.raw, endings, self.follow_symlinks, precedence)

    @cached_property
    def _index(self) -> tuple[dict[str, Place], list[UnusableFile]]:
        """All members by their names, and what of the shards cannot be used."""
        places, bad, root = dict[str, Place](), list[UnusableFile](), self.raw.resolve()
        for path in _list_shards(self.raw):
            if not path.exists() and path.with_name(f"{path.name}.dvc").exists():
                bad.append(UnusableFile(path.name, "only its DVC pointer is here, not what it stands for", PULL))
            elif obstacle := find_obstacle(path, root, self.follow_symlinks):
                bad.append(UnusableFile(path.name, obstacle.reason, obstacle.fix, obstacle.detail))
            else:
                state = _read_state(path)
                members, wrong = list_members(path)
                places |= {name: Place(path.name, state, member) for name, member in members.items()}
                bad += wrong
        return places, bad


def _list_shards(raw: Path) -> list[Path]:
    """The shards of a folder, sorted; those too of which only DVC's pointer is there."""
    try:
        names = [name for name in os.listdir(raw) if not name.startswith(".")]
    except OSError:
        return []
    shards = {name for name in names if name.lower().endswith(ENDING)}
    pointed = {name.removesuffix(".dvc") for name in names if name.lower().endswith(POINTER)}
    return [raw / name for name in sorted(shards | pointed)]


def _read_state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size


def _find_key(name: str) -> str:
    """What the files of a sample have in common."""
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _list_fields(names: Iterable[str]) -> set[str]:
    """The pictures that are further fields of a sample which has one: a.depth.png beside a.jpg."""
    stems = {name: os.path.splitext(name)[0] for name in names if is_picture(name)}
    keys = {stem for name, stem in stems.items() if stem == _find_key(name)}
    return {name for name, stem in stems.items() if stem not in keys and _find_key(name) in keys}


def _tell_incomplete(names: Iterable[str], bad: Iterable[UnusableFile], pictures: Iterable[str]) -> list[str]:
    """Which samples have no picture, not even one that cannot be used."""
    having = {_find_key(name) for name in [*pictures, *(one.source for one in bad)]}
    lacking = sorted({key for name in names if (key := _find_key(name)) not in having})
    if not lacking:
        return []
    shown = ", ".join(lacking[:LISTED]) + (", ..." if len(lacking) > LISTED else "")
    return [f"samples without a picture ({len(lacking)}): {shown}"]
