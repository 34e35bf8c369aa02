"""cache/datasets: what runs of the second door read, a folder for each dataset, base and settings; and its bounds."""

import os
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lorakiln.artefacts.disk import explaining_disk_errors
from lorakiln.console.errors import UserError
from lorakiln.facts.dataset import Dataset

FOLDER = "datasets"  # in the cache's
UNFINISHED = "unfinished"  # in a dataset's folder: what stands there is another's, until the stages are through
USED = "used"  # there, too: a lock of each process that reads the folder; its time is when one last began to
KEPT = 16  # of each dataset, beside those that are being read
_held: dict[Path, FileLock] = {}


@dataclass(frozen=True)
class CachedDataset:
    """One folder.

    Attributes:
        dataset: the name of the dataset that it was made of; "" of what is unfinished or damaged.
        used: when it was made or last read, seconds since 1970.
    """

    folder: Path
    dataset: str
    used: float

    def count_bytes(self) -> int:
        """How much of the disk is freed with it: files that others share count nothing."""
        size = 0
        for parent, _, names in os.walk(self.folder):
            for name in names:
                with suppress(FileNotFoundError):  # somebody makes it anew at this moment
                    told = Path(parent, name).lstat()
                    size += told.st_size if told.st_nlink == 1 else 0
        return size


def hold(folder: Path) -> None:
    """Say that this process reads `folder`, until it ends: nobody removes it meanwhile. It is made if it is not there.

    Raises:
        UserError: the disk is full or not writable.
    """
    with explaining_disk_errors(folder), _deciding(folder.parents[1]):
        used = folder / USED
        used.mkdir(parents=True, exist_ok=True)
        os.utime(used, (now := time.time(), now))
        lock = used / f"{socket.gethostname()}-{os.getpid()}"
        if lock not in _held or not lock.exists():  # it may have been removed by hand meanwhile
            # Given back by the kernel when the process ends.
            _held[lock] = FileLock(lock, thread_local=False)
            _held[lock].acquire()


def is_whole(folder: Path) -> bool:
    """Whether a folder of cache/datasets holds all that the data stages make."""
    return (folder / "encoded" / "index.json").exists() and not (folder / UNFINISHED).exists()


def find_newest(cache: Path, dataset: str) -> Path | None:
    """The whole folder of a dataset that was made last; None: there is none."""
    whole = [one for one in _list_folders(cache) if _tell_dataset(one) == dataset]
    return max(whole, key=lambda one: ((one / "encoded" / "index.json").stat().st_mtime_ns, one.name), default=None)


def list_cached(cache: Path) -> list[CachedDataset]:
    """All folders, by their dataset's name, and those that were used last first."""
    found = [CachedDataset(one, _tell_dataset(one), _tell_used(one)) for one in _list_folders(cache)]
    return sorted(found, key=lambda one: (one.dataset, -one.used, one.folder.name))


def choose_surplus(cached: Sequence[CachedDataset], keep: int) -> list[CachedDataset]:
    """All but the `keep` of each dataset that were used last."""
    counts: dict[str, int] = {}
    surplus = []
    for one in sorted(cached, key=lambda each: (-each.used, each.folder.name)):
        counts[one.dataset] = counts.get(one.dataset, 0) + 1
        if counts[one.dataset] > keep:
            surplus.append(one)
    return surplus


def remove_unheld(cache: Path, folders: Sequence[Path]) -> list[Path]:
    """Remove those that no process reads or makes now; the removed ones.

    Raises:
        UserError: the disk is not writable.
    """
    removed: list[Path] = []
    for folder in folders:
        aside = cache / f".{FOLDER}.{folder.name}.removed"
        with explaining_disk_errors(cache), _deciding(cache):
            shutil.rmtree(aside, ignore_errors=True)  # of one that was killed on the way
            if not folder.exists() or _is_held(folder):
                continue
            os.replace(folder, aside)  # from here on nobody finds a half of it
        shutil.rmtree(aside, ignore_errors=True)
        removed.append(folder)
    return removed


@contextmanager
def _deciding(cache: Path) -> Iterator[None]:
    """One process at a time says that it reads a folder, or that nobody does."""
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{FOLDER}.lock"):
        yield


def _is_held(folder: Path) -> bool:
    """Whether a process that lives holds one of its locks."""
    for path in sorted((folder / USED).glob("*")):
        try:
            FileLock(path, thread_local=False).acquire(blocking=False).lock.release()
        except Timeout:
            return True
    return False


def _list_folders(cache: Path) -> list[Path]:
    root = cache / FOLDER
    return sorted(one for one in root.iterdir() if one.is_dir()) if root.is_dir() else []


def _tell_dataset(folder: Path) -> str:
    try:
        return Dataset.read(folder / "captioned" / "dataset.json").name if is_whole(folder) else ""
    except (UserError, OSError):  # what is damaged is no help
        return ""


def _tell_used(folder: Path) -> float:
    for mark in (folder / USED, folder):
        with suppress(FileNotFoundError):
            return mark.stat().st_mtime
    return 0.0  # it was removed meanwhile
