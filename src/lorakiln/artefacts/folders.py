"""Output folders are whole: the old one or the new one, never half of either."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out`; put it in the place of `out` when the block ends without an error.

    A kill inside the block leaves `out` as it was. A kill between the two renames leaves the new folder under
    its temporary name and the old one beside it; `recover` (called first) then finishes the swap.
    """
    recover(out)
    fresh, old = _beside(out, "new"), _beside(out, "old")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    # The mark says that the new folder is complete: without it a leftover is thrown away, not put in place.
    complete = _beside(out, "complete")
    complete.touch()
    if out.exists():
        os.replace(out, old)
    os.replace(fresh, out)
    complete.unlink()
    shutil.rmtree(old, ignore_errors=True)


def recover(out: Path) -> None:
    """Finish or undo a swap that was cut off, so that `out` is whole or absent."""
    fresh, old, complete = (_beside(out, name) for name in ("new", "old", "complete"))
    if complete.exists():
        if fresh.exists():
            if out.exists():
                os.replace(out, old)
            os.replace(fresh, out)
        complete.unlink()
    elif old.exists() and not out.exists():
        os.replace(old, out)
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)


def _beside(out: Path, role: str) -> Path:
    return out.parent / f".{out.name}.{role}"
