"""Where the W&B client puts what it makes on the way to its records: not into $TMPDIR, where a kill leaves it for ever.

The client makes two temporary folders when it is imported, through which pictures pass, and one for each table that it
is told.
"""

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import lock_descriptor

_own: dict[tuple[int, Path], str | None] = {}  # by process, which may be a fork, and by folder
_held: list[int] = []  # the locks of this process's folders, held until it ends, however it does


@contextlib.contextmanager
def temporary_files_in(home: Path) -> Iterator[None]:
    """Temporary folders that are made meanwhile lie in home/tmp, in a folder that goes with this process.

    A process that was killed leaves its folder; the next one removes it. Where nothing can be written, all is as ever.
    """
    root = (home / "tmp").absolute()
    if (os.getpid(), root) not in _own:
        _own[os.getpid(), root] = _make_folder(root)
    before, tempfile.tempdir = tempfile.tempdir, _own[os.getpid(), root] or tempfile.tempdir
    try:
        yield
    finally:
        tempfile.tempdir = before


def _make_folder(root: Path) -> str | None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _opened(root) as handle:
            lock_descriptor(handle)  # nobody's folder is without its lock meanwhile
            for left in root.iterdir():
                _remove_if_left(left)
            folder = Path(tempfile.mkdtemp(dir=root))
            _held.append(os.open(folder, os.O_RDONLY))
            lock_descriptor(_held[-1])
    except OSError:
        return None
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return str(folder)


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)


def _remove_if_left(folder: Path) -> None:
    with contextlib.suppress(OSError), _opened(folder) as handle:  # no folder of ours
        if lock_descriptor(handle, blocking=False):  # else its process lives
            shutil.rmtree(folder, ignore_errors=True)
