"""What an output was made of, kept beside it: whether making it again would change nothing, known without making it.

The libraries that a stage computes with take seconds to load. Here files alone are looked at: those that it reads,
those of its models, and those that it wrote.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from lorakiln.artefacts.atomic_file import remove_abandoned
from lorakiln.artefacts.file_safety import find_obstacle
from lorakiln.artefacts.hashing import hash_file
from lorakiln.artefacts.json_files import write_text

# A file that was written so shortly before it was looked at may be written once more at the same time by its clock:
# its content is read again (as git does it with its index).
SETTLED = 2.0  # seconds
# Beyond it a file is one of a model's weights, and is known by its state alone: it is not read through to be compared.
LARGE = 200_000_000  # bytes
# Folders that `folders.replacing` and `partial_results` have beside an output, and the lists of what stages refused.
LEFTOVERS = ("new", "old", "complete", "kept")
LISTS = ("quarantine.jsonl", "problems.jsonl")
Files = Mapping[str, Path]


class FileState(NamedTuple):
    """One file.

    Attributes:
        size: bytes.
        written, changed: its content, and its content or its place, in nanoseconds; 0 where that tells nothing.
        inode: which file of its disk it is.
        content: SHA-256, 64 hex digits; None: it is too large.
    """

    size: int
    written: int
    changed: int
    inode: int
    content: str | None

    def same(self, other: "FileState") -> bool:
        """Whether both have the same content."""
        if self.content is None or other.content is None:
            return bool(self.written) and self[:4] == other[:4]
        return self.content == other.content


class OutputRecord:
    """The record of one output, a folder or a file.

    Args:
        out: the output.
        key: what decides its content beside files: settings, code, libraries, the kind of device.
        list_inputs: the files that decide it, by names that are the same on every machine. What is not there is left
            out.
    """

    def __init__(self, out: Path, key: str, list_inputs: Callable[[], Files]) -> None:
        self.out, self.key, self._list_inputs = out, key, list_inputs
        self.path = locate_record(out)

    def is_current(self) -> bool:
        """Whether the output is as it was made, of the files that there are now, and nothing lies beside it that a run
        which was stopped or refused has left.
        """
        record = _read(self.path)
        if record is None or record[0] != self.key or self._has_leftovers():
            return False
        recorded, files = record[1], self._list_files()
        if files.keys() != recorded.keys():
            return False
        try:
            now = {name: _look(path, recorded.get(name)) for name, path in files.items()}
        except OSError:  # gone meanwhile, or not to be read: the stage says so
            return False
        if not all(now[name].same(one) for name, one in recorded.items()):
            return False
        if now != recorded:
            self._write(now)
        return True

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """Write the record when what is inside has made the output; none, if an input was changed meanwhile.

        One that is there stays where nothing was made: it holds the files' content, and is current of nothing else.
        """
        before = _stat_all(self._list_inputs())
        yield
        files, known = self._list_files(), self._read_neighbours()
        try:
            states = {name: _look(path, known.get(name)) for name, path in files.items()}
        except OSError:
            return
        if self.out.exists() and before == _stat_all(self._list_inputs()):
            self._write(states)

    def _list_files(self) -> dict[str, Path]:
        return {**self._list_inputs(), **list_folder(self.out.name, self.out)}

    def _has_leftovers(self) -> bool:
        beside = [*(f".{self.out.name}.{role}" for role in LEFTOVERS), *(f"{self.out.name}.{one}" for one in LISTS)]
        return any((self.out.parent / name).exists() for name in beside)

    def _read_neighbours(self) -> dict[str, FileState]:
        """What the records of the outputs beside this one say: the stage before has read most of its files."""
        known: dict[str, FileState] = {}
        for path in sorted(self.path.parent.glob(f".*{ENDING}")):
            if record := _read(path):
                known |= record[1]
        return known

    def _write(self, states: Mapping[str, FileState]) -> None:
        content = {"key": self.key, "files": {name: list(one) for name, one in sorted(states.items())}}
        remove_abandoned(self.path)
        write_text(self.path, json.dumps(content, ensure_ascii=False) + "\n")


ENDING = ".made"


def locate_record(out: Path) -> Path:
    """Where the record of an output is."""
    return out.parent / f".{out.name}{ENDING}"


def list_folder(name: str, folder: Path) -> dict[str, Path]:
    """All files of a folder, hidden ones too, by `name` and their place in it; of a file itself; nothing, if it is not
    there.
    """
    if folder.is_file():
        return {name: folder}
    found = {}
    for parent, _, files in os.walk(folder):
        for file in files:
            path = Path(parent, file)
            found[f"{name}/{path.relative_to(folder).as_posix()}"] = path
    return found


def list_folders(folders: Mapping[str, Path]) -> dict[str, Path]:
    """The same of several, by their names."""
    return {name: path for called, folder in folders.items() for name, path in list_folder(called, folder).items()}


def _look(path: Path, known: FileState | None) -> FileState:
    """A file's state; its content is not read again where it is as `known` says. Of what cannot be read, or must not be
    opened, the name alone counts.
    """
    if find_obstacle(path, path.parent, follow_links=True) or not os.access(path, os.R_OK):
        return FileState(0, 0, 0, 0, "")
    stat = path.stat()
    settled = time.time() - max(stat.st_mtime, stat.st_ctime) > SETTLED
    written, changed = (stat.st_mtime_ns, stat.st_ctime_ns) if settled else (0, 0)
    state = FileState(stat.st_size, written, changed, stat.st_ino, None)
    if known and settled and known[:4] == state[:4]:
        return known
    return state if stat.st_size > LARGE else state._replace(content=hash_file(path))


def _stat_all(files: Files) -> dict[str, tuple[int, int, int, int] | None]:
    found: dict[str, tuple[int, int, int, int] | None] = {}
    for name, path in files.items():
        try:
            stat = path.stat()
        except OSError:
            found[name] = None
        else:
            found[name] = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    return found


def _read(path: Path) -> tuple[str, dict[str, FileState]] | None:
    """Key and files of a record; None: there is none, or it is damaged."""
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
        return str(data["key"]), {str(name): FileState(*state) for name, state in data["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
