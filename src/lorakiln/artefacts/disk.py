"""The disk: full, read-only, over quota, or too small for what is to come."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lorakiln.console.errors import REMEDIES, UserError, make_disk_error

UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


@contextmanager
def explaining_disk_errors(where: Path) -> Iterator[None]:
    """Turn an OSError that is the disk's fault into a UserError about its file, or about `where` if it names none."""
    try:
        yield
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        raise make_disk_error(error, where) from error


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raise UserError if `needed` bytes are more than the disk that holds `folder` (or is to hold it) has left.

    Args:
        what: for which the space is needed.
    """
    present = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(present).free
    if needed > free:
        raise UserError(
            f"{what} need{'' if what.endswith('s') else 's'} about {format_size(needed)}, "
            f"the disk has {format_size(free)} left",
            where=folder,
            fix=REMEDIES[errno.ENOSPC],
        )


def format_size(count: int) -> str:
    """Bytes in a unit that suits: "1.5 GiB"."""
    for unit, name in UNITS:
        if count >= unit:
            return f"{count / unit:.1f} {name}"
    return f"{count} bytes"
