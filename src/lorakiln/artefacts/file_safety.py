"""What in a folder may be opened: regular files, and no links that lead where nobody meant them to."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lorakiln.console.errors import UserError

# What looks like a file there may hold all of a process's memory, or never end.
SYSTEM = (Path("/proc"), Path("/sys"), Path("/dev"))
SHARED_MEMORY = Path("/dev/shm")
LISTED = 20  # in messages
KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True)
class Obstacle:
    """Why something must not be opened.

    Attributes:
        reason: the same words for all of a kind.
        fix: what to do about it.
        detail: what is particular to this one.
    """

    reason: str
    fix: str
    detail: str = ""


def find_obstacle(path: Path, root: Path, follow_links: bool = False) -> Obstacle | None:
    """Why `path` must not be opened; None for a regular file. It is looked at alone.

    Args:
        root: the folder that `path` belongs to, links resolved.
        follow_links: accept links that lead out of `root`.
    """
    try:
        mode = path.stat().st_mode
    except PermissionError:
        return Obstacle("cannot be looked at", "change its permissions")
    except OSError:  # its target is not there, or leads in a circle
        return Obstacle("a link to nothing", "mend the link, or fetch what it leads to (`dvc pull`)")
    if kind := KINDS.get(stat.S_IFMT(mode)):
        return Obstacle("not a regular file", "remove it", kind)
    if not path.is_symlink() or (target := path.resolve()).is_relative_to(root):
        return None
    if any(target.is_relative_to(folder) for folder in SYSTEM) and not target.is_relative_to(SHARED_MEMORY):
        return Obstacle("a link to what is the system's own", "remove it", f"to {target}")
    if follow_links:
        return None
    fix = "copy the files here, or set prepare.follow_symlinks=true"
    return Obstacle("a link that leads out of the dataset's folder", fix)


def check_regular(path: Path) -> None:
    """Raise UserError if `path` is a pipe, a socket or a device, or leads to one, or may not be read.

    What is not there is let through. (Of what may not be read, some libraries say that it is not there.)
    """
    try:
        kind = KINDS.get(stat.S_IFMT(path.stat().st_mode))
    except OSError:  # for whoever opens it to tell
        return
    if kind:
        raise UserError(f"{kind}, not a regular file", where=path, fix="name or put a file there")
    if not os.access(path, os.R_OK):
        raise UserError("cannot be read: Permission denied", where=path, fix="change its permissions")


def check_openable(folder: Path, follow_links: bool = False) -> None:
    """Raise UserError about all that is below `folder` and must not be opened. Folders behind links are not entered.

    Args:
        follow_links: accept links that lead out of `folder`.
    """
    found = list(_obstacles(folder, follow_links))
    if not found:
        return
    lines = [f"  {name}: {one.reason}{f' ({one.detail})' if one.detail else ''}; {one.fix}" for name, one in found]
    more = [f"  and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    what = f"{len(lines)} of its files must not be opened" if len(lines) > 1 else "one of its files must not be opened"
    raise UserError("\n".join([what + ":", *lines[:LISTED], *more]), where=folder)


def _obstacles(folder: Path, follow_links: bool) -> Iterator[tuple[str, Obstacle]]:
    root = folder.resolve()
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            if found := find_obstacle(path, root, follow_links):
                yield path.relative_to(folder).as_posix(), found
