"""`lorakiln captions`: the caption files of a dataset, looked at and changed where they lie."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorakiln.console.terminal_text import escape_line

if TYPE_CHECKING:
    from lorakiln.tools.caption_files import CaptionEdit

SHOWN = 20  # files
WIDTH = 100  # letters of a text
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="with pictures and captions: data/raw/NAME")]
Write = Annotated[bool, typer.Option("--write", help="write the files; without it they are only shown")]

app = typer.Typer(no_args_is_help=True, help="Look at the caption files of a folder, and change them.")


@app.command()
def reencode(
    folder: Folder,
    encoding: Annotated[str, typer.Option("--from", metavar="ENCODING", help="gb18030, cp932, big5, cp1251, ...")],
    write: Write = False,
) -> None:
    """Make UTF-8 of the captions that are not, once it was seen that the encoding is theirs."""
    from lorakiln.tools.caption_files import reencode_captions

    _finish(folder, reencode_captions(folder, encoding), write)


@app.command()
def replace(
    folder: Folder,
    old: Annotated[str, typer.Argument(metavar="OLD", help="words, found whole and in any case")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="what takes their place; '' removes them")],
    pattern: Annotated[bool, typer.Option("--pattern", help="OLD is a regular expression")] = False,
    write: Write = False,
) -> None:
    """Replace or remove words or tags in all captions."""
    from lorakiln.tools.caption_files import replace_words

    _finish(folder, replace_words(folder, old, new, pattern), write)


@app.command()
def stats(
    folder: Folder,
    most: Annotated[int, typer.Option(min=1, help="tags that are listed")] = 50,
) -> None:
    """Count in how many captions each tag stands: what is between commas."""
    from lorakiln.tools.caption_files import count_tags

    files, counts = count_tags(folder)
    print(f"{files} captions, {len(counts)} different tags")
    for tag, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]:
        print(f"{count:6}  {count / files:4.0%}  {escape_line(tag)[:WIDTH]}")


@app.command()
def lint(
    folder: Folder,
    trigger: Annotated[str, typer.Option(help="words that every caption is to hold: caption.trigger")] = "",
) -> None:
    """Say what is odd about the captions: missing, empty, contradicting, without the trigger, tags in all of them.

    The exit status is 1 where pictures have no usable caption or several that differ, or lack the trigger words.
    """
    from lorakiln.tools.caption_lint import lint_captions

    found = lint_captions(folder, trigger)
    for title, lines in found.titles().items():
        print(f"{title} ({len(lines)}):")
        for line in lines[:SHOWN]:
            print(f"  {_shorten(line)}")
        if len(lines) > SHOWN:
            print(f"  and {len(lines) - SHOWN} more")
    print(f"{found.captions} captions of {found.pictures} pictures" + ("" if found.titles() else ": nothing is odd"))
    if found.missing or found.unusable or found.contradictions or found.untriggered:
        raise typer.Exit(1)


def _finish(folder: Path, edits: Sequence["CaptionEdit"], write: bool) -> None:
    from lorakiln.tools.caption_files import write_edits

    for edit in edits[:SHOWN]:
        print(escape_line(edit.name))
        if edit.before:
            print(f"  - {_shorten(edit.before)}")
        print(f"  + {_shorten(edit.after)}")
    if len(edits) > SHOWN:
        print(f"and {len(edits) - SHOWN} more")
    if write:
        write_edits(folder, edits)
        print(f"{len(edits)} files written")
    else:
        print(f"{len(edits)} files; nothing is written yet: --write does it")


def _shorten(text: str) -> str:
    line = escape_line(" ".join(text.split()))
    return line if len(line) <= WIDTH else line[: WIDTH - 3] + "..."
