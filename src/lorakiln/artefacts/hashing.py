"""Content keys: equal content, equal key, on every machine."""

import hashlib
import json
from pathlib import Path
from typing import Any


def hash_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_data(*parts: Any) -> str:
    """SHA-256 of JSON-able values in canonical form, 64 hex digits."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_folder(folder: Path) -> str:
    """SHA-256 over the names and contents of all files below `folder` (hidden files left out), 64 hex digits."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return hash_data([[path.relative_to(folder).as_posix(), hash_file(path)] for path in files])
