"""`lorakiln clean`: room on the disk, from datasets that runs have left in the cache."""

from pathlib import Path
from typing import Annotated

import typer

from lorakiln.console.counts import format_count
from lorakiln.console.terminal_text import escape_text


def clean(
    cache: Annotated[Path, typer.Option(metavar="FOLDER", help="the project's")] = Path("cache"),
    keep: Annotated[int, typer.Option(min=0, help="of each dataset, those that were used last")] = 1,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be removed, and leave it")] = False,
) -> None:
    """Remove prepared and encoded datasets of cache/datasets that no run reads now; a run that needs one makes it."""
    from lorakiln.tools.dataset_cache import choose_surplus, list_cached, remove_unheld

    cached = list_cached(cache)
    surplus = choose_surplus(cached, keep)
    sizes = {one.folder: one.count_bytes() / 1e6 for one in surplus}
    removed = {one.folder for one in surplus} if dry_run else set(remove_unheld(cache, [one.folder for one in surplus]))
    for one in surplus:
        what = ("would be removed" if dry_run else "removed") if one.folder in removed else "in use"
        told = f"{one.folder}: {one.dataset or 'unfinished'}, {sizes[one.folder]:.1f} MB"
        print(escape_text(f"{told}: {what}"))
    freed = sum(size for folder, size in sizes.items() if folder in removed)
    would = "would be removed" if dry_run else "removed"
    print(f"{len(removed)} of {format_count(len(cached), 'dataset')} {would}, {freed:.1f} MB")
