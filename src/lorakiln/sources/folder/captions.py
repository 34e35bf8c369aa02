"""The captions that lie with the raw pictures: by hand, a file beside each, tables of them, and tags of a booru."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from lorakiln.artefacts.file_safety import find_obstacle
from lorakiln.console.errors import UserError
from lorakiln.sources import CaptionProblem
from lorakiln.sources.folder import edits, tags
from lorakiln.sources.folder.encodings import decode_text, describe_readings
from lorakiln.sources.folder.metadata import TABLES, CaptionTables

PRECEDENCE = ("edit", "sidecar", "metadata", "tags")
LONGEST = 100_000  # bytes of a caption
LONGEST_TAGS = 10_000_000  # of a file with tags and all else that a site knows of a picture


class FolderCaptions:
    """The captions of one dataset.

    Args:
        raw: the dataset's folder.
        extensions: endings of caption files, in any case; of several beside one picture the first wins.
        follow_symlinks: read through links that lead out of `raw`.
        precedence: where captions are looked for, the first that has one wins: "edit", a hand edit; "sidecar", a
            picture's own file; "metadata", its row of a table; "tags", its file from a booru.
    """

    def __init__(
        self, raw: Path, extensions: Sequence[str], follow_symlinks: bool, precedence: Sequence[str] = PRECEDENCE
    ) -> None:
        self.raw, self.root, self.follow, self.precedence = raw, raw.resolve(), follow_symlinks, precedence
        self.endings = ["." + ending.lstrip(".").lower() for ending in extensions]
        self.tables = CaptionTables(raw, follow_symlinks)
        self._listed: dict[Path, dict[str, list[str]]] = {}

    def find(self, picture: str) -> str | None:
        """The file with the caption of a picture; both are paths below the dataset's folder."""
        find = {
            "edit": self._find_edit,
            "sidecar": self._find_sidecar,
            "metadata": self.tables.find,
            "tags": self._find_tags,
        }
        return next((name for kind in self.precedence if (name := find[kind](picture))), None)

    def read(self, name: str, picture: str) -> str | CaptionProblem:
        """A picture's text with all white space, line ends included, as single spaces."""
        lines = self.read_lines(name, picture)
        return lines if isinstance(lines, CaptionProblem) else " ".join(lines)

    def read_lines(self, name: str, picture: str) -> list[str] | CaptionProblem:
        """A picture's captions, a line each, with all other white space as single spaces; of tables and tags one."""
        if name == picture + edits.ENDING:
            text = self._read_edit(picture)
            gone = CaptionProblem(name, "has no caption any more", "run the same command again")
            return text if isinstance(text, CaptionProblem) else split_lines(text or "") or gone
        if PurePosixPath(name).name in TABLES and PurePosixPath(name).suffix not in self.endings:
            return _in_list(self.tables.read(name, picture))
        if PurePosixPath(name).suffix.lower() == ".json" and ".json" not in self.endings:
            gone = CaptionProblem(name, "has no tags any more", "run the same command again")
            return _in_list(self._read_tags(name) or gone)
        content = self._read_bytes(name, LONGEST)
        return content if isinstance(content, CaptionProblem) else decode_caption(name, content)

    def without_picture(self, pictures: Sequence[str]) -> Iterator[str]:
        """Caption files, and rows of tables, that belong to none of the pictures."""
        pictures = [*pictures, *self._list_edited()]
        stems = {PurePosixPath(name).with_suffix("").as_posix() for name in pictures}
        for parent, folders, files in os.walk(self.raw):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            visible = [Path(parent, name).relative_to(self.raw) for name in files if not name.startswith(".")]
            for path in sorted(visible):
                if path.suffix.lower() in self.endings and path.with_suffix("").as_posix() not in stems:
                    yield path.as_posix()
        yield from self.tables.without_picture(set(pictures))

    def _list_edited(self) -> Iterator[str]:
        """The pictures that have a hand edit, which may leave them out."""
        for parent, folders, files in os.walk(self.raw):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in files:
                picture = name.removesuffix(edits.ENDING)
                if picture != name and Path(parent, picture).exists():
                    yield Path(parent, picture).relative_to(self.raw).as_posix()

    def _find_edit(self, picture: str) -> str | None:
        """A picture's hand edit, where it has a caption, or is none that can be read."""
        return picture + edits.ENDING if self._read_edit(picture) else None

    def _read_edit(self, picture: str) -> str | CaptionProblem | None:
        try:
            edit = edits.read_edit(self.raw, picture, self.follow)
        except UserError as error:
            return CaptionProblem(picture + edits.ENDING, "is no hand edit", error.fix, error.what)
        return edit.caption if edit else None

    def _find_sidecar(self, picture: str) -> str | None:
        stem = PurePosixPath(picture).with_suffix("").as_posix()
        return self._find_beside([stem + ending for ending in self.endings])

    def _find_tags(self, picture: str) -> str | None:
        """The file of a picture's tags; None too where it is of something else, such as where a photograph was made."""
        name = None if ".json" in self.endings else self._find_beside(list(tags.list_names(picture)))
        return name if name and self._read_tags(name) else None

    def _find_beside(self, wanted: Sequence[str]) -> str | None:
        """The first of these files, whatever the case of its ending: Windows' tools write .TXT."""
        for path in map(PurePosixPath, wanted):
            alike = self._list(self.raw / path.parent).get(path.name.lower(), [])
            exact = sorted(name for name in alike if PurePosixPath(name).stem == path.stem)
            if exact:
                return (path.parent / (path.name if path.name in exact else exact[0])).as_posix()
        return None

    def _list(self, folder: Path) -> dict[str, list[str]]:
        """A folder's names by their lower case; links to nothing are among them, to be told."""
        if folder not in self._listed:
            found: dict[str, list[str]] = {}
            try:
                names = os.listdir(folder)
            except OSError:
                names = []
            for name in names:
                found.setdefault(name.lower(), []).append(name)
            self._listed[folder] = found
        return self._listed[folder]

    def _read_tags(self, name: str) -> str | CaptionProblem | None:
        content = self._read_bytes(name, LONGEST_TAGS)
        return content if isinstance(content, CaptionProblem) else decode_tags(name, content)

    def _read_bytes(self, name: str, most: int) -> bytes | CaptionProblem:
        """A file's bytes, one more than `most` at most."""
        path = self.raw / name
        if found := find_obstacle(path, self.root, self.follow):
            return CaptionProblem(name, found.reason, found.fix, found.detail)
        if path.is_dir():
            return CaptionProblem(name, "a folder, no regular file", "remove it")
        try:
            with path.open("rb") as file:
                return file.read(most + 1)
        except OSError as error:
            return CaptionProblem(name, f"cannot be read ({error.strerror})", "change its permissions")


def decode_caption(name: str, content: bytes) -> list[str] | CaptionProblem:
    """A caption file's bytes as lines, or why they are none; of more than LONGEST, LONGEST + 1 are enough."""
    if len(content) > LONGEST:
        return CaptionProblem(name, f"longer than {LONGEST:,} bytes: no caption", "remove it, or shorten it")
    try:
        text = decode_text(content)
    except UnicodeDecodeError as error:
        what = "holds NUL bytes: no text, or UTF-16 without its mark" if b"\0" in content else "is not UTF-8; it may be"
        detail = describe_readings(content) or f"byte 0x{content[error.start]:02x} at {error.start}"
        fix = "`lorakiln captions reencode FOLDER --from ENCODING` shows what it would write, and writes it with --yes"
        return CaptionProblem(name, what, fix, detail)
    return split_lines(text) or CaptionProblem(name, "empty", "write a caption into it, or delete it to have one made")


def split_lines(text: str) -> list[str]:
    """The lines of a caption that hold something, white space as single spaces."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _in_list(text: str | CaptionProblem) -> list[str] | CaptionProblem:
    return text if isinstance(text, CaptionProblem) else [text]


def decode_tags(name: str, content: bytes) -> str | CaptionProblem | None:
    """The caption that the tags in a .json file are, None if there are none; or why it cannot be read."""
    fix = "mend it or remove it, or write a caption file, which wins"
    if len(content) > LONGEST_TAGS:
        return CaptionProblem(name, f"longer than {LONGEST_TAGS:,} bytes: no tags", fix)
    try:
        return tags.read_tags(decode_text(content))
    except ValueError:
        return CaptionProblem(name, "is no JSON", fix)
