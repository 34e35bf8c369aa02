"""Where a captioner's model is, and what it is known by."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorakiln.artefacts.hashing import hash_data, hash_file
from lorakiln.console.errors import UserError
from lorakiln.families.identity import hash_quickly
from lorakiln.schema.model import Source

FIX = "name a hub id or a folder in caption.source.path, or, where that is null, in model.captioner.path"


def locate(source: Source) -> Path:
    """Where a local one would be.

    Raises:
        UserError: a file is there, and no folder.
    """
    folder = Path(source.path).expanduser()
    if folder.is_file():
        raise UserError("a file, not a folder with a captioner's files", where=folder, fix=FIX)
    return folder


def identify_source(source: Source, patterns: Sequence[str]) -> dict[str, Any]:
    """A local folder is known by its content, a hub's model by name and revision, so that nothing need be fetched where
    all captions are there already.

    Args:
        patterns: which files of a folder are read.

    Raises:
        UserError: a file is there, and no folder.
    """
    folder = locate(source)
    if folder.is_dir():
        used = sorted({path for pattern in patterns for path in folder.glob(pattern)})
        return {"hash": hash_data(sorted([path.name, _hash(path)] for path in used))}
    return {"path": source.path, "revision": source.revision}


def _hash(path: Path) -> str:
    """Of a large file of tensors some slices count (`families.identity`); an ONNX file has no header to know it by."""
    return hash_file(path) if path.suffix == ".onnx" else hash_quickly(path)
