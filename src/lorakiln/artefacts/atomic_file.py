"""The name under which a file is written before it is whole."""

import errno
import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from filelock import lock_descriptor

TRIES = 10  # of which the second is hardly ever needed
LONGEST = 255  # bytes of a file's name (NAME_MAX of Linux' file systems)


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a name beside `path` that no other file has, to be renamed to `path`; nothing is left there.

    It ends in ".part". A kill leaves it behind, since it is nobody else's to overwrite: see `remove_abandoned`. An
    OSError about it is raised as one about `path`, the name that somebody has chosen.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = _name_part(path)
    while beside.exists():
        beside = _name_part(path)
    try:
        yield beside
    except OSError as error:
        if error.filename is not None and os.fspath(error.filename) == str(beside):
            error.filename = str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def opening_locked(beside: Path) -> Iterator[BinaryIO]:
    """Open the name that `replacing_file` gave, to write bytes there and rename it; `remove_abandoned` keeps off it.

    Raises:
        OSError: the disk is full or not writable.
    """
    for _ in range(TRIES):
        with beside.open("wb") as file:
            with suppress(OSError):  # some network file systems have no locks
                lock_descriptor(file.fileno())
            # Whoever cleans up may have taken it for abandoned before the lock was on it.
            if _is_there(file, beside):
                yield file
                return
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(beside))


def _is_there(file: BinaryIO, path: Path) -> bool:
    """Whether an open file still has its name; not every file system counts the names that a file has."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


def remove_abandoned(path: Path) -> None:
    """Remove what writers of `path` that were killed have left beside it.

    Only for a file that is written by `opening_locked`: the lock ends with its process. Where the disk has no locks the
    parts stay.
    """
    for name in glob.glob(
        f"{glob.escape(_shorten(path.name))}.{'[0-9a-f]' * 8}.part", root_dir=path.parent, include_hidden=True
    ):
        with suppress(OSError):  # gone meanwhile, not to be opened, no locks
            handle = os.open(path.parent / name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if lock_descriptor(handle, blocking=False):
                    os.unlink(path.parent / name)
            finally:
                os.close(handle)


def _name_part(path: Path) -> Path:
    return path.with_name(f"{_shorten(path.name)}.{secrets.token_hex(4)}.part")


def _shorten(name: str) -> str:
    """So much of a name that, with what comes behind it, a file can have it."""
    return os.fsdecode(os.fsencode(name)[: LONGEST - len(".01234567.part")])
