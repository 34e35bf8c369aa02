"""Caption files that lie beside the raw pictures."""

import os
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from lorakiln.artefacts.file_safety import find_obstacle
from lorakiln.sources import CaptionProblem

LONGEST = 100_000  # bytes
UTF16 = (b"\xff\xfe", b"\xfe\xff")


class CaptionFiles:
    """The caption files of one dataset.

    Args:
        raw: the dataset's folder.
        extensions: endings of caption files; of several beside one picture the first wins.
        follow_symlinks: read through links that lead out of `raw`.
    """

    def __init__(self, raw: Path, extensions: Sequence[str], follow_symlinks: bool) -> None:
        self.raw, self.root, self.follow = raw, raw.resolve(), follow_symlinks
        self.endings = ["." + ending.lstrip(".") for ending in extensions]

    def find(self, picture: str) -> str | None:
        """The caption file of a picture; both are paths below the dataset's folder."""
        for ending in self.endings:
            name = PurePosixPath(picture).with_suffix(ending).as_posix()
            if os.path.lexists(self.raw / name):
                return name
        return None

    def read(self, name: str) -> str | CaptionProblem:
        """A file's text with all white space, line ends included, as single spaces."""
        lines = self.read_lines(name)
        return lines if isinstance(lines, CaptionProblem) else " ".join(lines)

    def read_lines(self, name: str) -> list[str] | CaptionProblem:
        """A file's lines that are not empty, with all other white space as single spaces."""
        path = self.raw / name
        if found := find_obstacle(path, self.root, self.follow):
            return CaptionProblem(name, found.reason, found.fix, found.detail)
        if path.is_dir():
            return CaptionProblem(name, "a folder, no regular file", "remove it")
        try:
            with path.open("rb") as file:
                content = file.read(LONGEST + 1)
        except OSError as error:
            return CaptionProblem(name, f"cannot be read ({error.strerror})", "change its permissions")
        return decode_caption(name, content)

    def without_picture(self, pictures: Sequence[str]) -> Iterator[str]:
        """Caption files that belong to none of the pictures, sorted."""
        stems = {PurePosixPath(name).with_suffix("").as_posix() for name in pictures}
        for parent, folders, files in os.walk(self.raw):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            visible = [Path(parent, name).relative_to(self.raw) for name in files if not name.startswith(".")]
            for path in sorted(visible):
                if path.suffix in self.endings and path.with_suffix("").as_posix() not in stems:
                    yield path.as_posix()


def decode_caption(name: str, content: bytes) -> list[str] | CaptionProblem:
    """A caption file's bytes as lines, or why they are none; of more than LONGEST, LONGEST + 1 are enough."""
    if len(content) > LONGEST:
        return CaptionProblem(name, f"longer than {LONGEST:,} bytes: no caption", "remove it, or shorten it")
    if content.startswith(UTF16):
        return CaptionProblem(name, "is UTF-16", "save it as UTF-8")
    if b"\0" in content:
        return CaptionProblem(name, "holds NUL bytes: no text, or UTF-16", "save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = content[error.start]
        command = f"iconv -f latin1 -t utf-8 {shlex.quote(name)}"
        detail = f"byte 0x{byte:02x} at {error.start}"
        return CaptionProblem(
            name, "is not UTF-8, Latin-1 perhaps", f"save it as UTF-8, such as with `{command}`", detail
        )
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return lines or CaptionProblem(name, "empty", "write a caption into it, or delete it to have one made")
