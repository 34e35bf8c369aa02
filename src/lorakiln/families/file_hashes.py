"""The hashes by which A1111, sd-scripts and Civitai know a base model: of its one file, where it is one."""

import functools
import hashlib
from pathlib import Path

from lorakiln.artefacts.hashing import hash_file
from lorakiln.families.weights_file import is_single_file

FOLDER = "IsADirectory"  # what sd-scripts writes for a model in diffusers' layout


def compute_short_hash(path: str, identity: str) -> str:
    """A1111's "Model hash": the first 10 hex digits of a single file's SHA-256.

    Args:
        path: of the settings, a file, a folder or a hub id.
        identity: the model's own (`Family.facts`), whose first digits are taken for what is no single file.
    """
    return compute_whole_hash(path)[:10] if is_single_file(path) else identity[:10]


def compute_whole_hash(path: str) -> str:
    """SHA-256 of a single file, 64 hex digits. A large one's takes seconds, once in a process."""
    file = Path(path).expanduser()
    known = file.stat()
    return _hash_once(file, known.st_size, known.st_mtime_ns)


def compute_kohya_hashes(path: str) -> tuple[str, str] | None:
    """sd-scripts' ss_sd_model_hash, A1111's old hash, and ss_new_sd_model_hash, its new one; None for a hub's model.

    The old one is the first 8 hex digits of the SHA-256 of bytes 0x100000 to 0x110000.
    """
    file = Path(path).expanduser()
    if not is_single_file(path):
        return (FOLDER, FOLDER) if file.is_dir() else None
    with file.open("rb") as opened:
        opened.seek(0x100000)
        old = hashlib.sha256(opened.read(0x10000)).hexdigest()[:8]
    return old, compute_whole_hash(path)


@functools.lru_cache(maxsize=8)
def _hash_once(file: Path, size: int, changed: int) -> str:
    return hash_file(file)
