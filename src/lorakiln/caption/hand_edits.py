"""Captions that were edited in the stage's own output, where the next run would undo it."""

from collections.abc import Sequence
from pathlib import Path

from lorakiln.caption.trigger import adapt_settings, complete_text
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.console.terminal_text import escape_line
from lorakiln.rows import CaptionedRow, PreparedRow, read_captioned
from lorakiln.schema.captioners import CaptionSettings
from lorakiln.sources import CaptionProblem, Captions

LISTED = 5  # pictures


def read_texts(files: Captions, settings: CaptionSettings, name: str, picture: str) -> list[str] | CaptionProblem:
    """A picture's captions in a file, one at least, as they stand there; or why they cannot be used."""
    if settings.lines:
        return files.read_lines(name, picture)
    text = files.read(name, picture)
    return text if isinstance(text, CaptionProblem) else [text]


def find_hand_edits(captioned: Path) -> list[CaptionedRow]:
    """The rows of a captioned folder whose texts are not as the stage wrote them; none if it is absent or damaged."""
    try:
        return [row for row in read_captioned(captioned) if row.is_edited]
    except (OSError, ValueError):  # which `text_cache.read_earlier_texts` tells
        return []


def check_hand_edits(
    out: Path, raw: Path, rows: Sequence[PreparedRow], files: Captions, settings: CaptionSettings
) -> None:
    """Refuse to write over edits that are nowhere else: those that the files beside the pictures do not say too.

    Args:
        out: the captioned folder of an earlier run.
        raw: the dataset's folder, for the message.
        rows: the pictures that there are now.

    Raises:
        UserError: there are some.
    """
    now = {row.file_name: row for row in rows}
    lost = [
        row.file_name
        for row in find_hand_edits(out)
        if row.file_name in now and row.text not in _read_files(files, settings, now[row.file_name])
    ]
    if lost:
        shown = ", ".join(map(escape_line, lost[:LISTED])) + (", ..." if len(lost) > LISTED else "")
        raise UserError(
            f"{format_count(len(lost), 'caption')} edited here, which is made anew from {raw}: {shown}",
            where=out / "metadata.jsonl",
            fix=f"`lorakiln captions export {raw} --captioned {out}` takes the edits to files beside the pictures, "
            f"which win over all else; or give them up: `dvc checkout --force {out}`",
        )


def _read_files(files: Captions, settings: CaptionSettings, row: PreparedRow) -> list[str]:
    """The texts that a picture's file makes; none if it has no usable one."""
    settings = adapt_settings(settings, row.rules)
    name = files.find(row.source)
    texts = read_texts(files, settings, name, row.source) if name else []
    if isinstance(texts, CaptionProblem):
        return []
    return [complete_text(settings, text, row.is_reg, by_hand=True) for text in texts]
