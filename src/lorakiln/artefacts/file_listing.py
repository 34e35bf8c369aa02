"""The files below a folder with their MD5, as DVC would know them, and without opening what is no regular file."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lorakiln.artefacts.disk import telling_disk_trouble
from lorakiln.artefacts.file_safety import find_obstacle
from lorakiln.artefacts.hashing import list_files, spell_name
from lorakiln.artefacts.json_files import Damaged, Missing, read_json, write_json

UNREAD = "-"  # for the MD5 of what is not opened, or cannot be read


@dataclass
class FileListing:
    """What is in a folder.

    Attributes:
        files: each file's MD5, 32 hex digits, by its path below the folder, sorted.
        states: by the same names what `stat` says of the files that were read: inode, size, and the times in ns at
            which the content and the inode were last changed. While these stay, so does the content.
        read: how many files were opened.
    """

    files: dict[str, str] = field(default_factory=dict)
    states: dict[str, list[int]] = field(default_factory=dict)
    read: int = 0

    def format(self) -> str:
        """One line a file, as `md5sum` writes and checks them."""
        return "".join(f"{content}  {name}\n" for name, content in self.files.items())

    def compute_dvc_hash(self) -> str | None:
        """The folder's MD5 as in DVC's NAME.dvc (dvc-data, hashfile/tree.py); None if not every file was read."""
        if UNREAD in self.files.values():
            return None
        entries = [{"md5": content, "relpath": name} for name, content in sorted(self.files.items())]
        return hashlib.md5(json.dumps(entries, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def list_folder(
    folder: Path, follow_links: bool = False, before: Mapping[str, list[int | str]] | None = None
) -> FileListing:
    """List all files below `folder`, hidden ones too; none if it is not there.

    Args:
        follow_links: read files that links out of `folder` lead to, and enter folders, each once.
        before: by name the state and then the MD5 of files as they were; what is in that state is not read again.
    """
    listing, root, known = FileListing(), folder.resolve(), before or {}
    for path in sorted(list_files(folder, follow_links)):
        name = spell_name(path.relative_to(folder))
        listing.files[name] = UNREAD
        if find_obstacle(path, root, follow_links):
            continue
        try:
            state = _state(path)
            if known.get(name, [])[:-1] == state:
                content = str(known[name][-1])
            else:
                with path.open("rb") as file:
                    content = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
                listing.read += 1
        except OSError:  # gone, or not to be read: for `prepare` to tell
            continue
        listing.files[name], listing.states[name] = content, state
    return listing


def _state(path: Path) -> list[int]:
    seen = os.stat(path)
    return [seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns]


def read_states(path: Path) -> dict[str, list[int | str]]:
    """What `write_states` wrote; nothing if it is not there or damaged: then all files are read again."""
    try:
        return {name: known for name, known in read_json(path).items() if isinstance(known, list)}
    except (Missing, Damaged):
        return {}


def write_states(path: Path, listing: FileListing) -> None:
    """Keep what spares the next `list_folder` the reading.

    Raises:
        UserError: the disk is full or not writable.
    """
    with telling_disk_trouble(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {name: [*state, listing.files[name]] for name, state in listing.states.items()})
