"""Which versions of datasets are recorded already: the jobs of a sweep share one record."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from lorakiln.artefacts.hashing import hash_data
from lorakiln.artefacts.json_files import read_json, write_json


def compute_dataset_version(hash: str, rows: list[tuple[str, str]]) -> str:
    """16 hex digits that change with the pictures and with the captions.

    Args:
        hash: of pictures and geometry.
        rows: (file name, caption).
    """
    return hash_data(hash, sorted(rows))[:16]


class DatasetVersion:
    """One version in W&B's folder: whether it is recorded, where, and a lock while it is being recorded."""

    def __init__(self, folder: Path, *key: Any) -> None:
        self.path = folder / "wandb" / "datasets" / f"{hash_data(*key)[:16]}.json"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Others that would record the same wait; the kernel frees a dead one's lock."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path.with_suffix(".lock")):
            yield

    def recorded(self, online: bool) -> bool:
        """Whether there is a record to rely on: an offline one that was deleted, or one that a run which is online
        refers to and the server does not have, is none.
        """
        try:
            kept = read_json(self.path)
            return bool(kept["online"]) or (not online and Path(kept["folder"]).is_dir())
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def set(self, online: bool, folder: str) -> None:
        write_json(self.path, {"online": online, "folder": folder})
