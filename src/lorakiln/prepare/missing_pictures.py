"""No pictures: what is there instead, and where pictures may be."""

import difflib
from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path, PurePosixPath

from lorakiln.artefacts.dvc_pointers import check_pulled
from lorakiln.console.errors import UserError
from lorakiln.sources.folder.scan import READABLE

LOOKED_AT = 2000  # entries of a folder


def check_folder(raw: Path, out: Path) -> None:
    """Raise UserError if `raw` is no folder, or if the output would lie among the input."""
    if raw.is_dir():
        if out.resolve().is_relative_to(raw.resolve()):
            raise UserError("the output cannot lie in the dataset's own folder", where=out, fix="name another folder")
        return
    if raw.exists():
        raise UserError("a file, not a folder of pictures", where=raw, fix="unpack it, or name the folder")
    check_pulled(raw)
    raise UserError("no such folder", where=raw, fix=_nearest(raw))


def make_no_pictures_error(raw: Path, others: Counter[str], misnamed: Mapping[str, str]) -> UserError:
    """The error about a folder without pictures.

    Args:
        others: how many files of every ending it holds.
        misnamed: files that are pictures but for their names, with the endings that they lack.
    """
    if misnamed:
        name, ending = next(iter(sorted(misnamed.items())))
        what = f"no files with a picture's ending; {len(misnamed)} are pictures by what they hold"
        fix = f"give them their endings: rename {name} to {name_rightly(name, ending)}, and so on"
        return UserError(what, where=raw, fix=fix)
    ordered = sorted(others.items(), key=lambda item: (-item[1], item[0] or "~"))
    counts = ", ".join(f"{count} {ending or 'without an ending'}" for ending, count in ordered)
    return UserError(f"no pictures here or in folders below (files: {counts or 'none'})", where=raw, fix=_nearest(raw))


def name_rightly(name: str, ending: str) -> str:
    """What a picture without its ending should be called."""
    return PurePosixPath(name).with_suffix(ending).as_posix()


def _nearest(raw: Path) -> str:
    """A hint at the folder with pictures whose name is most alike, among those beside `raw` and beside its parent."""
    raw = raw.absolute()
    for parent in raw.parents[:2]:
        folders = [path for path in parent.glob("[!.]*") if path.is_dir() and path != raw and _holds_pictures(path)]
        if folders:
            folders.sort(key=lambda path: (-difflib.SequenceMatcher(None, path.name, raw.name).ratio(), path.name))
            return f"put pictures there, or name another folder; the nearest with pictures is {folders[0]}"
    return "put pictures there, or name another folder in `dataset`"


def _holds_pictures(folder: Path) -> bool:
    return any(path.suffix.lower() in READABLE for path in islice(folder.rglob("[!.]*"), LOOKED_AT))
