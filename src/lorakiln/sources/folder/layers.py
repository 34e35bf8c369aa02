"""Captions of pictures that are no files, in shards or tables, under the files that lie beside these."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from lorakiln.sources import CaptionProblem
from lorakiln.sources.folder.captions import FolderCaptions


class InnerCaptions(Protocol):
    """The captions in shards or tables."""

    def holds(self, name: str) -> bool:
        """Whether a name that was found is theirs."""

    def find(self, picture: str, kind: str) -> str | None:
        """The name of what a picture's caption stands in; kind is one of `caption.precedence`."""

    def read_lines(self, name: str, picture: str) -> list[str] | CaptionProblem:
        """See `sources.Captions`."""

    def without_picture(self, pictures: Sequence[str]) -> Iterator[str]:
        """See `sources.Captions`."""


class LayeredCaptions:
    """See `sources.Captions`. In each place of the precedence a file of the dataset's folder goes first.

    Args:
        raw: the dataset's folder; beside what holds s/a.png, s/a.txt is its caption, and s/a.png.edit.yaml its edit.
    """

    def __init__(
        self, inner: InnerCaptions, raw: Path, endings: Sequence[str], follow: bool, order: Sequence[str]
    ) -> None:
        self.inner = inner
        self.outer = FolderCaptions(raw, endings, follow, order)
        self.by_kind = {kind: FolderCaptions(raw, endings, follow, [kind]) for kind in order}

    def find(self, picture: str) -> str | None:
        for kind, outer in self.by_kind.items():
            if name := outer.find(picture) or self.inner.find(picture, kind):
                return name
        return None

    def read(self, name: str, picture: str) -> str | CaptionProblem:
        lines = self.read_lines(name, picture)
        return lines if isinstance(lines, CaptionProblem) else " ".join(lines)

    def read_lines(self, name: str, picture: str) -> list[str] | CaptionProblem:
        return (self.inner if self.inner.holds(name) else self.outer).read_lines(name, picture)

    def without_picture(self, pictures: Sequence[str]) -> Iterator[str]:
        yield from self.outer.without_picture(pictures)
        yield from self.inner.without_picture(pictures)
