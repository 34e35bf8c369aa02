"""Output folders are whole: the old one or the new one, never half of either, at any moment."""

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import lock_descriptor

from lorakiln.artefacts.disk import explaining_disk_errors
from lorakiln.artefacts.dvc_cache import check_dvc_cache
from lorakiln.artefacts.fsync import sync_folder, sync_names
from lorakiln.console.errors import UserError

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h
_claimed: set[Path] = set()


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out`; put it in the place of `out` when the block ends without an error.

    A kill inside the block leaves `out` as it was. The two folders change places in one step where the file system
    can; elsewhere a kill between the two renames leaves both beside `out`, and `recover` (called first) finishes.
    When this returns, the new folder outlasts a power cut; the old one is removed no sooner.

    Raises:
        UserError: another process is writing there, or the disk is full or not writable; `out` is as it was.
    """
    with claimed(out), explaining_disk_errors(out):
        recover(out)
        fresh, old = _beside(out, "new"), _beside(out, "old")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        try:
            with _kept(fresh):
                yield fresh
            check_dvc_cache(fresh, out)
            sync_folder(fresh)
            if out.exists() and _exchange(fresh, out):
                sync_names(out.parent)
                shutil.rmtree(fresh, ignore_errors=True)
                return
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        # The mark says that the new folder is complete: without it a leftover is thrown away, not put in place.
        complete = _beside(out, "complete")
        complete.touch()
        sync_names(out.parent)
        if out.exists():
            os.replace(out, old)
        os.replace(fresh, out)
        sync_names(out.parent)
        complete.unlink()
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _kept(folder: Path) -> Iterator[None]:
    """Raise UserError at the end if somebody has removed the folder meanwhile: what was in it is missing."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield
        if not (folder.is_dir() and os.path.samestat(folder.stat(), os.fstat(handle))):
            raise UserError("removed while this ran", where=folder, fix="run the same command again")
    finally:
        os.close(handle)


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Nobody else writes beside `out` meanwhile: the lock is on its parent folder, and a dead process's is freed.

    Raises:
        UserError: another process has the folder.
    """
    parent = out.absolute().parent
    if parent in _claimed:
        yield
        return
    with explaining_disk_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(parent, os.O_RDONLY)
    try:
        _lock(handle, parent)
        _claimed.add(parent)
        yield
    finally:
        _claimed.discard(parent)
        os.close(handle)


def recover(out: Path) -> None:
    """Finish or undo a swap that was cut off, so that `out` is whole or absent."""
    fresh, old, complete = (_beside(out, name) for name in ("new", "old", "complete"))
    if complete.exists():
        if fresh.exists():
            if out.exists():
                os.replace(out, old)
            os.replace(fresh, out)
            sync_names(out.parent)
        complete.unlink()
    elif old.exists() and not out.exists():
        os.replace(old, out)
        sync_names(out.parent)
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)


def _lock(handle: int, folder: Path) -> None:
    try:
        if lock_descriptor(handle, blocking=False):
            return
    except OSError:
        # Some network file systems have no locks on folders; then the user's care is all there is.
        return
    raise UserError("another process is writing here", where=folder, fix="wait for it, or stop it")


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where the system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    return bool(rename(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0)


def _beside(out: Path, role: str) -> Path:
    return out.parent / f".{out.name}.{role}"
