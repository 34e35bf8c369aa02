"""Caption files beside raw pictures, looked at and changed where they lie: in another encoding, with other words."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lorakiln.artefacts.file_safety import find_obstacle
from lorakiln.artefacts.json_files import write_text
from lorakiln.console.errors import UserError
from lorakiln.sources.folder.captions import LONGEST
from lorakiln.sources.folder.encodings import decode_text, list_readings

ENDINGS = (".txt", ".caption")


@dataclass(frozen=True)
class CaptionEdit:
    """What one caption file would become.

    Attributes:
        name: below the folder.
        before: its text, "" where it could not be read.
    """

    name: str
    before: str
    after: str


def reencode_captions(folder: Path, encoding: str) -> list[CaptionEdit]:
    """The files that are not UTF-8, as text of this encoding.

    Args:
        encoding: Python's name of it: "gb18030", "cp932", "cp1251".

    Raises:
        UserError: there is no such encoding, a file is not of it, or all files are UTF-8.
    """
    try:
        "".encode(encoding)
    except LookupError:
        known = "gb18030 (GBK), cp932 (Shift-JIS), big5, cp949 (Korean), cp1251 (Cyrillic), cp1252 (Latin)"
        raise UserError(f"{encoding}: no such encoding", where="--from", fix=f"one of {known}, ...") from None
    edits = []
    for name, content in _read_all(folder):
        try:
            decode_text(content)
            continue
        except UnicodeDecodeError:
            pass
        try:
            edits.append(CaptionEdit(name, "", decode_text(content, encoding)))
        except UnicodeDecodeError as error:
            others = ", ".join(list_readings(content)) or "none of the usual ones"
            raise UserError(
                f"is not {encoding} (byte 0x{content[error.start]:02x} at {error.start}); it could be {others}",
                where=folder / name,
                fix="name another encoding with --from, or move the files that are of another one apart",
            ) from error
    if not edits:
        raise UserError("all caption files here are UTF-8, or UTF-16 with its mark", where=folder, fix="nothing to do")
    return edits


def replace_words(folder: Path, old: str, new: str, as_pattern: bool) -> list[CaptionEdit]:
    """The captions in which something stands, with something else in its place.

    Args:
        old: words, found whole and in any case; or a regular expression.
        new: what takes their place; "" takes a tag's comma along.
        as_pattern: whether `old` is an expression; `new` may then name its groups.

    Raises:
        UserError: it is no expression, or nothing holds it.
    """
    try:
        pattern = re.compile(old if as_pattern else rf"(?<!\w){re.escape(old)}(?!\w)", re.IGNORECASE)
    except re.error as error:
        raise UserError(f"no regular expression: {error}", where=old, fix="mend it, or leave --pattern out") from error
    edits = []
    for name, content in _read_all(folder):
        before = _decode(folder / name, content)
        after = pattern.sub(new if as_pattern else lambda _: new, before)
        if after != before:
            edits.append(CaptionEdit(name, before, after if new else tidy_commas(after)))
    if not edits:
        raise UserError(f"no caption has {old!r}", where=folder, fix="look at `lorakiln captions stats FOLDER`")
    return edits


def tidy_commas(text: str) -> str:
    """ "a, , b," is "a, b": what is left where a tag was taken out."""
    return "\n".join(", ".join(tag for one in line.split(",") if (tag := one.strip())) for line in text.split("\n"))


def write_edits(folder: Path, edits: Sequence[CaptionEdit]) -> None:
    """Write them, UTF-8, each file whole or not at all."""
    for edit in edits:
        write_text(folder / edit.name, edit.after)


def count_tags(folder: Path) -> tuple[int, Counter[str]]:
    """How many caption files there are, and in how many of them each tag stands, what is between commas.

    Raises:
        UserError: there is none, or one is not UTF-8.
    """
    counts: Counter[str] = Counter()
    files = 0
    for name, content in _read_all(folder):
        text = _decode(folder / name, content)
        files += 1
        counts.update({" ".join(tag.split()) for tag in re.split(r"[,\n]", text)} - {""})
    return files, counts


def _decode(path: Path, content: bytes) -> str:
    """Raises UserError for what is not UTF-8."""
    try:
        return decode_text(content)
    except UnicodeDecodeError as error:
        fix = "`lorakiln captions reencode FOLDER --from ENCODING` first"
        raise UserError("is not UTF-8", where=path, fix=fix) from error


def _read_all(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every caption file below the folder, sorted, hidden ones left out.

    Raises:
        UserError: there is none, or it may not be read.
    """
    names = sorted(
        Path(parent, name).relative_to(folder).as_posix()
        for parent, folders, files in _walk(folder)
        for name in files
        if Path(name).suffix.lower() in ENDINGS and not name.startswith(".")
    )
    if not names:
        raise UserError("no caption files here (.txt, .caption)", where=folder, fix="name the folder with the pictures")
    root = folder.resolve()
    for name in names:
        if found := find_obstacle(folder / name, root):
            raise UserError(found.reason, where=folder / name, fix=found.fix)
        with (folder / name).open("rb") as file:
            content = file.read(LONGEST + 1)
        if len(content) > LONGEST:
            raise UserError(f"longer than {LONGEST:,} bytes: no caption", where=folder / name, fix="remove it")
        yield name, content


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield parent, folders, files
