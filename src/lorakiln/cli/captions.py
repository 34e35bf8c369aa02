"""`lorakiln captions`: the captions of a dataset, looked at and changed where they lie."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lorakiln.cli.options import MODELS
from lorakiln.console.counts import format_count
from lorakiln.console.errors import UserError
from lorakiln.console.terminal_text import escape_line

if TYPE_CHECKING:
    from lorakiln.tools.caption_files import CaptionEdit
    from lorakiln.tools.caption_lint import Reader

SHOWN = 20  # files
WIDTH = 100  # letters of a text
CAPTIONED = Path("outputs/captioned")
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="with pictures and captions: data/raw/NAME")]
Yes = Annotated[bool, typer.Option("--yes", help="write the files; without it they are only shown")]
Trigger = Annotated[str, typer.Option(help="words that every caption is to hold: caption.trigger")]
Base = Annotated[
    str | None, typer.Option(help=f"whose tokens count: {', '.join(MODELS)}, a .yaml file, a folder, file or hub id")
]
MaxTokens = Annotated[int, typer.Option(metavar="75|150|225", help="--base: as encode.max_tokens")]
Captioned = Annotated[Path, typer.Option(metavar="FOLDER", help="what `caption` wrote of the dataset")]

app = typer.Typer(no_args_is_help=True, help="Look at the captions of a dataset, and change them.")


@app.command()
def export(
    folder: Folder,
    captioned: Captioned = CAPTIONED,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="write nothing, and show what would be")] = False,
) -> None:
    """Write what the captioner wrote, and what was edited in its output, beside the pictures: edit it there.

    Files that are there are left as they are. The exit status is 1 where an edit could not be taken out.
    """
    from lorakiln.tools.caption_changes import CaptionedDataset, write_exports

    found = CaptionedDataset(folder, captioned).list_exports()
    for one in found.files[:SHOWN]:
        print(f"{escape_line(one.name)}\n  + {_shorten(one.text)}")
    if len(found.files) > SHOWN:
        print(f"and {len(found.files) - SHOWN} more")
    lost = {name: f"{file} is there and wins: edit that one" for name, file in found.edited_beside_a_file.items()}
    lost |= dict.fromkeys(found.unmade, "trigger words, prefix and suffix cannot be taken off: write its file by hand")
    for name, why in lost.items():
        print(f"not written: {escape_line(name)}: {escape_line(why)}", file=sys.stderr)
    if not dry_run:
        write_exports(folder, found)
    what = "would be written" if dry_run else "written"
    print(
        f"{format_count(len(found.files), 'file')} {what}; {format_count(found.by_hand, 'picture')} with "
        "captions of their own"
    )
    if lost:
        raise typer.Exit(1)


@app.command()
def diff(folder: Folder, captioned: Captioned = CAPTIONED) -> None:
    """Show what the next `dvc repro caption` changes: the captions of the dataset against those of its output.

    The exit status is 1 where there is something.
    """
    from lorakiln.tools.caption_changes import CaptionedDataset

    changes = CaptionedDataset(folder, captioned).list_changes()
    for change in changes:
        print(escape_line(f"{change.picture}: {change.why}" if change.why else change.picture))
        for mark, texts in (("-", change.before), ("+", change.after)):
            for text in texts:
                print(f"  {mark} {escape_line(text)}")
    print(f"{format_count(len(changes), 'caption')} will change" if changes else "no caption changes")
    if changes:
        raise typer.Exit(1)


@app.command()
def reencode(
    folder: Folder,
    encoding: Annotated[str, typer.Option("--from", metavar="ENCODING", help="gb18030, cp932, big5, cp1251, ...")],
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="[FILE]...", help="these alone, where others are of other encodings")
    ] = None,
    yes: Yes = False,
) -> None:
    """Make UTF-8 of the captions that are not, once it was seen that the encoding is theirs."""
    from lorakiln.tools.caption_files import reencode_captions

    _finish(folder, reencode_captions(folder, encoding, files or ()), yes)


@app.command()
def replace(
    folder: Folder,
    old: Annotated[str, typer.Argument(metavar="OLD", help="words, found whole and in any case")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="what takes their place; '' removes them")],
    regex: Annotated[
        bool, typer.Option("--regex", help="OLD is a regular expression, NEW may name its groups")
    ] = False,
    tag: Annotated[bool, typer.Option("--tag", help="OLD is all that stands between two commas")] = False,
    yes: Yes = False,
) -> None:
    """Replace or remove words or tags in all captions, hand edits too; files keep their encoding and line ends."""
    from lorakiln.tools.caption_files import replace_words

    if regex and tag:
        raise UserError("OLD is one or the other", where="--regex, --tag", fix="leave one out")
    _finish(folder, replace_words(folder, old, new, "regex" if regex else "tag" if tag else "words"), yes)


@app.command()
def stats(
    folder: Folder,
    most: Annotated[int, typer.Option(min=1, help="tags that are listed")] = 50,
    words: Annotated[bool, typer.Option("--words", help="count single words, not tags")] = False,
    trigger: Trigger = "",
    base: Base = None,
) -> None:
    """Count in how many captions each tag stands: what is between commas. With --base how long they are in tokens."""
    from lorakiln.tools.caption_files import collect_stats

    found = collect_stats(folder, trigger)
    counts = found.words if words else found.tags
    print(f"{format_count(found.captions, 'caption')}, {len(counts)} different {'words' if words else 'tags'}")
    if trigger.split():
        share = found.triggered / found.captions
        print(f"{found.triggered} of them ({share:.0%}) have the trigger words {escape_line(repr(trigger))}")
    if base is not None:
        reader = _load_reader(base)
        lengths = sorted(reader.family.count_tokens(text) for text in found.texts)
        over = sum(length > reader.family.max_tokens for length in lengths)
        print(
            f"tokens: {lengths[0]} to {lengths[-1]}, half of them at most {lengths[(len(lengths) - 1) // 2]}; "
            f"{over} have more than the {reader.family.max_tokens} that are read at once"
        )
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]:
        print(f"{count:6}  {count / found.captions:4.0%}  {escape_line(name)[:WIDTH]}")


@app.command()
def lint(
    folder: Folder,
    trigger: Trigger = "",
    base: Base = None,
    max_tokens: MaxTokens = 75,
) -> None:
    """Say what is odd about the captions: missing, empty, contradicting, without the trigger, tags in all of them.

    With --base also what it cuts off, and trigger words that it knows as something else or in pieces. The exit status
    is 1 where pictures have no usable caption or several that differ, or lack the trigger words.
    """
    from lorakiln.tools.caption_lint import lint_captions

    found = lint_captions(folder, trigger, _load_reader(base, max_tokens) if base is not None else None)
    for title, lines in found.titles().items():
        print(f"{title} ({len(lines)}):")
        for line in lines[:SHOWN]:
            print(f"  {_shorten(line, 4 * WIDTH)}")
        if len(lines) > SHOWN:
            print(f"  and {len(lines) - SHOWN} more")
    print(
        f"{format_count(found.captions, 'caption')} of {format_count(found.pictures, 'picture')}"
        + ("" if found.titles() else ": nothing is odd")
    )
    if found.missing or found.unusable or found.contradictions or found.untriggered:
        raise typer.Exit(1)


def _load_reader(base: str, max_tokens: int = 75) -> "Reader":
    from lorakiln.families import load_family
    from lorakiln.families.prompt_encoding import CHUNK
    from lorakiln.families.protocol import Part
    from lorakiln.tools.caption_lint import Reader
    from lorakiln.tools.model_settings import find_settings_of

    if max_tokens not in (CHUNK, 2 * CHUNK, 3 * CHUNK):
        raise UserError(f"{max_tokens} is not 75, 150 or 225", where="--max-tokens", fix="take one of these")
    parts: tuple[Part, ...] = ("text",)
    return Reader(load_family(find_settings_of(base), parts), max_tokens // CHUNK)


def _finish(folder: Path, edits: Sequence["CaptionEdit"], yes: bool) -> None:
    from lorakiln.tools.caption_files import write_edits

    for edit in edits[:SHOWN]:
        print(escape_line(edit.name))
        if edit.before:
            print(f"  - {_shorten(edit.before)}")
        print(f"  + {_shorten(edit.after)}")
    if len(edits) > SHOWN:
        print(f"and {len(edits) - SHOWN} more")
    if yes:
        write_edits(folder, edits)
        print(f"{format_count(len(edits), 'file')} written")
    else:
        print(f"{format_count(len(edits), 'file')}; nothing is written yet: --yes does it")


def _shorten(text: str, width: int = WIDTH) -> str:
    line = escape_line(" ".join(text.split()))
    return line if len(line) <= width else line[: width - 3] + "..."
