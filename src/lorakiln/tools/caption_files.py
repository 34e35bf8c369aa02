"""Captions beside raw pictures, looked at and changed where they lie: in another encoding, with other words.

They are the caption files, and the hand edits that have a caption. A table's (metadata.jsonl) are changed in it.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, NoReturn

from lorakiln.artefacts.dvc_pointers import check_pulled
from lorakiln.artefacts.file_safety import find_obstacle
from lorakiln.artefacts.json_files import write_bytes
from lorakiln.caption.trigger import holds_trigger
from lorakiln.console.errors import ConfigError, UserError
from lorakiln.schema.base import check
from lorakiln.schema.picture_edit import PictureEdit
from lorakiln.sources.folder.captions import LONGEST
from lorakiln.sources.folder.edits import ENDING as EDIT
from lorakiln.sources.folder.edits import list_edits, read_edit, write_edit
from lorakiln.sources.folder.encodings import decode_text, encode_text, list_readings

ENDINGS = (".txt", ".caption")
Matching = Literal["words", "tag", "regex"]
_WORD = re.compile(r"\w[\w'-]*")
_LINE_END = re.compile(r"(\r\n|\r|\n)")


@dataclass(frozen=True)
class CaptionEdit:
    """What one caption would become.

    Attributes:
        name: of the caption file, or of the hand edit, below the folder.
        before: its text, "" where it could not be read.
        was: a caption file's bytes, whose encoding `after` is written in; none: UTF-8.
    """

    name: str
    before: str
    after: str
    was: bytes = b""


def reencode_captions(folder: Path, encoding: str, only: Sequence[Path] = ()) -> list[CaptionEdit]:
    """The files that are not UTF-8, as text of this encoding.

    Args:
        encoding: Python's name of it: "gb18030", "cp932", "cp1251".
        only: the files that are looked at, by their paths or below the folder, where others are of other encodings;
            none: all.

    Raises:
        UserError: there is no such encoding, a file is not of it, all files are UTF-8, or one of `only` is no caption
            file of the folder.
    """
    try:
        "".encode(encoding)
    except LookupError:
        known = "gb18030 (GBK), cp932 (Shift-JIS), big5, cp949 (Korean), cp1251 (Cyrillic), cp1252 (Latin)"
        raise UserError(f"{encoding}: no such encoding", where="--from", fix=f"one of {known}, ...") from None
    wanted = {_find_below(folder, path) for path in only}
    edits, seen = [], set[str]()
    for name, content in _read_files(folder) or _refuse_none(folder, ".txt, .caption"):
        seen.add(name)
        if wanted and name not in wanted:
            continue
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
                fix="name another encoding with --from, or list behind FOLDER only the files that are in this one",
            ) from error
    if strange := sorted(wanted - seen):
        raise UserError("no caption file of the folder (.txt, .caption)", where=strange[0], fix=f"name one in {folder}")
    if not edits:
        which = "all of these" if wanted else "all caption files here"
        raise UserError(f"{which} are UTF-8, or UTF-16 with its mark", where=folder, fix="nothing to do")
    return edits


def replace_words(folder: Path, old: str, new: str, matching: Matching = "words") -> list[CaptionEdit]:
    """The captions in which something stands, with something else in its place; encodings and line ends stay.

    Args:
        new: what takes its place; "" takes a tag's comma along.
        matching: what `old` is: "words", found whole and in any case; a "tag", all that stands between two commas, in
            any case, which does not come twice where `new` is there already; a "regex", whose groups `new` may name.

    Raises:
        UserError: it is no expression, nothing holds it, or a caption would have no text left.
    """
    change = _replace_tag(old, new) if matching == "tag" else _replace_pattern(old, new, matching == "regex")
    edits = []
    for name, before, content in _read_captions(folder):
        after = change(before)
        if after != before:
            if not after.strip():
                fix = "write another caption there, or remove it: then the next one of its picture counts"
                raise UserError("would have no caption left", where=folder / name, fix=fix)
            edits.append(CaptionEdit(name, before, after, content))
    if not edits:
        raise UserError(f"no caption has {old!r}", where=folder, fix="look at `lorakiln captions stats FOLDER`")
    return edits


def _find_below(folder: Path, path: Path) -> str:
    """A file's name below the folder, by that or by its path."""
    whole = (path if path.exists() else folder / path).absolute()
    root = folder.absolute()
    return whole.relative_to(root).as_posix() if root in whole.parents else str(path)


def tidy_commas(text: str) -> str:
    """ "a, , b," is "a, b": what is left where a tag was taken out. Line ends stay."""
    parts = _LINE_END.split(text)
    parts[::2] = [", ".join(tag for one in line.split(",") if (tag := one.strip())) for line in parts[::2]]
    return "".join(parts)


def write_edits(folder: Path, edits: Sequence[CaptionEdit]) -> None:
    """Write them, each file whole or not at all, and none where one cannot be spelled in its encoding.

    Raises:
        UserError: so it is, a hand edit would be none, or the disk is full or not writable.
    """
    contents = {folder / one.name: encode_text(one.after, one.was) for one in edits if not one.name.endswith(EDIT)}
    by_hand = {one.name: _change_hand_edit(folder, one) for one in edits if one.name.endswith(EDIT)}
    for path, content in contents.items():
        write_bytes(path.resolve(), content)  # a link goes on to lead there
    for name, edit in by_hand.items():
        write_edit(folder, name.removesuffix(EDIT), edit)


def _change_hand_edit(folder: Path, change: CaptionEdit) -> PictureEdit:
    edit = _read_hand_edit(folder, change.name)
    values = edit.model_dump(exclude_none=True, exclude_defaults=True) if edit else {}
    try:
        return check(PictureEdit, {**values, "caption": change.after})
    except ConfigError as error:
        raise UserError("; ".join(error.problems), where=folder / change.name, fix="write a shorter caption") from error


def _read_hand_edit(folder: Path, name: str) -> PictureEdit | None:
    try:
        return read_edit(folder, name.removesuffix(EDIT))
    except UserError as error:
        raise UserError(error.what, where=folder / name, fix=error.fix) from error


def _replace_pattern(old: str, new: str, as_regex: bool) -> Callable[[str], str]:
    try:
        pattern = re.compile(old if as_regex else rf"(?<!\w){re.escape(old)}(?!\w)", re.IGNORECASE)
        if as_regex:
            pattern.sub(new, "")  # groups that are not there are told, whatever the captions hold
    except (re.error, IndexError) as error:
        fix = "mend it, or leave --regex out"
        raise UserError(f"no regular expression, or NEW is none for it: {error}", where=old, fix=fix) from error

    def change(text: str) -> str:
        after = pattern.sub(new if as_regex else lambda _: new, text)
        return after if new or after == text else tidy_commas(after)

    return change


def _replace_tag(old: str, new: str) -> Callable[[str], str]:
    wanted, put = fold_tag(old), new.strip()
    if not wanted or "," in old:
        raise UserError("no tag: it is what stands between two commas", where=old, fix="name one, without its commas")

    def change_line(line: str) -> str:
        tags = line.split(",")
        if wanted not in map(fold_tag, tags):
            return line
        there = {fold_tag(tag) for tag in tags} - {wanted}
        kept = []
        for tag in tags:
            if fold_tag(tag) != wanted:
                kept.append(tag.strip())
            elif put and fold_tag(put) not in there:
                there.add(fold_tag(put))
                kept.append(put)
        return ", ".join(tag for tag in kept if tag)

    def change(text: str) -> str:
        parts = _LINE_END.split(text)
        parts[::2] = map(change_line, parts[::2])
        return "".join(parts)

    return change


def fold_tag(tag: str) -> str:
    """Equal for tags that are the same but for case and white space."""
    return " ".join(tag.split()).casefold()


@dataclass
class CaptionStats:
    """What stands in a folder's captions.

    Attributes:
        captions: how many there are; a hand edit takes the place of the caption file beside it.
        tags, words: in how many of them each stands: what is between commas; what is spaces and marks, in small
            letters.
        texts: of all, with single spaces.
        triggered: how many hold the trigger words.
    """

    captions: int = 0
    tags: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    texts: list[str] = field(default_factory=list)
    triggered: int = 0


def collect_stats(folder: Path, trigger: str = "") -> CaptionStats:
    """Count what stands in the captions.

    Raises:
        UserError: there is none, one is not UTF-8, or a hand edit is none.
    """
    found = CaptionStats()
    captions = _read_captions(folder)
    by_hand = {name.removesuffix(EDIT) for name, _, _ in captions if name.endswith(EDIT)}
    overruled = by_hand | {PurePosixPath(picture).with_suffix("").as_posix() for picture in by_hand}
    for name, text, _ in captions:
        if not name.endswith(EDIT) and PurePosixPath(name).with_suffix("").as_posix() in overruled:
            continue
        found.captions += 1
        found.texts.append(" ".join(text.split()))
        found.tags.update({" ".join(tag.split()) for tag in re.split(r"[,\n]", text)} - {""})
        found.words.update(set(_WORD.findall(text.lower())))
        found.triggered += bool(trigger.split()) and holds_trigger(text, trigger)
    return found


def _decode(path: Path, content: bytes) -> str:
    """Raises UserError for what is not UTF-8."""
    try:
        return decode_text(content)
    except UnicodeDecodeError as error:
        fix = "`lorakiln captions reencode FOLDER --from ENCODING` first"
        raise UserError("is not UTF-8", where=path, fix=fix) from error


def _read_captions(folder: Path) -> list[tuple[str, str, bytes]]:
    """The name, text and bytes of every caption file, and the name and caption of every hand edit that has one, sorted.
    Those of pictures that are left out by hand are none.

    Raises:
        UserError: there is none of either, or one cannot be read.
    """
    found = [(name, _decode(folder / name, content), content) for name, content in _read_files(folder)]
    for name in list_edits(folder):
        edit = _read_hand_edit(folder, name) if name.endswith(EDIT) else None
        if edit and edit.caption and not edit.excluded:
            found.append((name, edit.caption, b""))
    return sorted(found) or _refuse_none(folder, ".txt, .caption, .edit.yaml")


def _refuse_none(folder: Path, kinds: str) -> NoReturn:
    check_pulled(folder)
    fix = "name the folder with the pictures; captions of a table (metadata.jsonl, .csv, .json) are changed in it"
    raise UserError(f"no captions here ({kinds})", where=folder, fix=fix)


def _read_files(folder: Path) -> list[tuple[str, bytes]]:
    """Every caption file below the folder, sorted, hidden ones left out.

    Raises:
        UserError: one may not be read.
    """
    names = sorted(
        Path(parent, name).relative_to(folder).as_posix()
        for parent, folders, files in _walk(folder)
        for name in files
        if Path(name).suffix.lower() in ENDINGS and not name.startswith(".")
    )
    read = []
    root = folder.resolve()
    for name in names:
        if found := find_obstacle(folder / name, root):
            raise UserError(found.reason, where=folder / name, fix=found.fix)
        with (folder / name).open("rb") as file:
            content = file.read(LONGEST + 1)
        if len(content) > LONGEST:
            raise UserError(f"longer than {LONGEST:,} bytes: no caption", where=folder / name, fix="remove it")
        read.append((name, content))
    return read


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield parent, folders, files
