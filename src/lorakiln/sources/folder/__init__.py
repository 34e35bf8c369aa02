"""A folder of pictures, and of folders of pictures, each with its caption file beside it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from lorakiln.sources import SourceContents
from lorakiln.sources.folder.captions import FolderCaptions
from lorakiln.sources.folder.scan import scan


def recognise(raw: Path) -> bool:
    """Any folder can be one; it is asked for where no other kind is."""
    return raw.is_dir()


def open_source(raw: Path, follow_symlinks: bool) -> "Folder":
    return Folder(raw, follow_symlinks)


@dataclass(frozen=True)
class Folder:
    """See `sources.PictureSource`."""

    raw: Path
    follow_symlinks: bool

    def scan(self) -> SourceContents:
        return scan(self.raw, self.follow_symlinks)

    def picture(self, name: str) -> AbstractContextManager[Path]:
        return nullcontext(self.raw / name)

    def captions(self, endings: Sequence[str], precedence: Sequence[str]) -> FolderCaptions:
        return FolderCaptions(self.raw, endings, self.follow_symlinks, precedence)
