"""Whether a folder is as it was when somebody began to read it.

DVC notes what a stage's input is when the stage has ended: what was changed meanwhile would count as read, and the next
`dvc repro` would find everything up to date (treeverse/dvc#11058).
"""

from pathlib import Path

from lorakiln.artefacts.hashing import list_files
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.console.terminal_text import escape_line

LISTED = 5


class FolderState:
    """The files of a folder, known by size, time and inode; what file managers leave behind is none of them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, _read(folder)

    def check(self) -> None:
        """Raise UserError that names what was added, changed or removed since."""
        now = _read(self.folder)
        names = sorted(name for name in self.files.keys() | now.keys() if self.files.get(name) != now.get(name))
        if names:
            shown = ", ".join(map(escape_line, names[:LISTED])) + (", ..." if len(names) > LISTED else "")
            raise UserError(
                f"{format_count(len(names), 'file')} changed while this ran, which may have read them before: {shown}",
                where=self.folder,
                fix="run the same command again: what is as it was is not made again",
            )


def _read(folder: Path) -> dict[str, tuple[int, int, int] | None]:
    found: dict[str, tuple[int, int, int] | None] = {}
    for path in list_files(folder, follow_links=True):
        try:
            stat = path.stat()
        except OSError:  # a link to nothing, or gone since
            found[path.relative_to(folder).as_posix()] = None
        else:
            found[path.relative_to(folder).as_posix()] = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return found
