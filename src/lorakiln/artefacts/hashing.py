"""Content keys: equal content, equal key, on every machine."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lorakiln.artefacts.file_safety import find_obstacle

# Of Windows and macOS, in small letters; .dvcignore names the same.
LEFT_BEHIND = ("thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx")


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_data(*parts: Any) -> str:
    """SHA-256 of JSON-able values in canonical form, 64 hex digits."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_folder(folder: Path, follow_links: bool = False) -> str:
    """SHA-256 over the names and contents of all files below `folder`, 64 hex digits.

    Hidden files and folders, and what file managers leave behind, are left out.

    Of what must not be opened, or cannot be read, the name alone counts: it is for `prepare` to tell.

    Args:
        follow_links: read files that links out of `folder` lead to, and enter folders, each once.
    """
    files = sorted(list_files(folder, follow_links))
    root = folder.resolve()
    return hash_data([[_spelled(path.relative_to(folder)), _content(path, root, follow_links)] for path in files])


def _content(path: Path, root: Path, follow_links: bool) -> str | None:
    if find_obstacle(path, root, follow_links):
        return None
    try:
        return hash_file(path)
    except OSError:
        return None


def list_files(folder: Path, follow_links: bool) -> Iterator[Path]:
    """All files below `folder` but hidden ones and what file managers leave behind, in no order.

    Args:
        follow_links: enter folders that links lead to, each once.
    """
    entered = {folder.resolve()}  # links may lead in a circle
    for parent, folders, names in os.walk(folder, followlinks=follow_links):
        folders[:] = [name for name in folders if not _is_left_behind(name)]
        linked = [name for name in folders if Path(parent, name).is_symlink()]
        for name in linked:
            target = Path(parent, name).resolve()
            if target in entered:
                folders.remove(name)
            entered.add(target)
        yield from (Path(parent, name) for name in names if not _is_left_behind(name))


def _is_left_behind(name: str) -> bool:
    """Whether a file or folder is hidden, or was written by a file manager or an archiver for itself."""
    return name.startswith(".") or name.lower() in LEFT_BEHIND or name.endswith(":Zone.Identifier")


def _spelled(path: Path) -> str:
    # A name that is not UTF-8 has its bytes escaped: `prepare` is to refuse it, not this.
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
