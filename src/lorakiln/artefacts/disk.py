"""The disk: full, read-only, over quota, or too small for what is to come."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lorakiln.console.errors import UserError

# errno -> what to do about it. Others are no fault of the disk's, and are let through.
REMEDIES = {
    errno.ENOSPC: "free disk space, or write elsewhere",
    errno.EDQUOT: "free space of your quota, or write elsewhere",
    errno.EFBIG: "raise the limit on the size of files (`ulimit -f`), or write elsewhere",
    errno.EROFS: "make the disk writable, or write elsewhere",
    errno.EACCES: "change the folder's permissions, or write elsewhere",
    errno.EPERM: "change the folder's permissions, or write elsewhere",
    errno.EIO: "the disk may be failing: look at the system's log",
    errno.ENAMETOOLONG: "shorten the name",
    errno.EISDIR: "a folder has that name: give another one",
    errno.ENOTDIR: "a file stands where a folder is to be: move it away, or write elsewhere",
    errno.EEXIST: "a file stands where a folder is to be: move it away, or write elsewhere",
}
GONE = (errno.ENOENT, errno.ESTALE)
UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def explained(error: Exception) -> UserError | None:
    """What to tell of an error that a file or the disk is to blame for, wherever it came from; None if none is."""
    if isinstance(error, UserError):
        return error
    if not isinstance(error, OSError) or error.filename is None:
        return None
    if error.errno not in (*REMEDIES, *GONE):
        return None
    if error.errno in GONE:
        fix = "something removed it while this ran: run the same command again"
        return UserError(f"cannot be read or written: {error.strerror}", where=error.filename, fix=fix)
    return _trouble(error, None)


def _trouble(error: OSError, where: object) -> UserError:
    file = error.filename2 or error.filename
    if error.errno == errno.EACCES and isinstance(file, str) and os.path.exists(file) and not os.access(file, os.R_OK):
        return UserError(f"cannot be read: {error.strerror}", where=file, fix="change its permissions")
    return UserError(f"cannot write: {error.strerror}", where=file or where, fix=REMEDIES[error.errno or 0])


@contextmanager
def telling_disk_trouble(where: Path) -> Iterator[None]:
    """Turn an OSError that is the disk's fault into a UserError about its file, or about `where` if it names none."""
    try:
        yield
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        raise _trouble(error, where) from error


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raise UserError if `needed` bytes are more than the disk that holds `folder` (or is to hold it) has left.

    Args:
        what: for which the space is needed.
    """
    present = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(present).free
    if needed > free:
        raise UserError(
            f"{what} need{'' if what.endswith('s') else 's'} about {size(needed)}, the disk has {size(free)} left",
            where=folder,
            fix=REMEDIES[errno.ENOSPC],
        )


def size(count: int) -> str:
    """Bytes in a unit that suits: "1.5 GiB"."""
    for unit, name in UNITS:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
