"""Hand edits: beside a.png the file a.png.edit.yaml, with its caption, the box of its crop, or that it is left out."""

import os
from collections.abc import Iterable
from pathlib import Path

import yaml

from lorakiln.artefacts.disk import explaining_disk_errors
from lorakiln.artefacts.file_safety import find_obstacle
from lorakiln.artefacts.json_files import write_text
from lorakiln.console.errors import ConfigError, UserError
from lorakiln.schema.base import check
from lorakiln.schema.picture_edit import PictureEdit
from lorakiln.schema.strict_yaml import read_yaml
from lorakiln.sources import UnusableFile

ENDING = ".edit.yaml"
# What somebody may write for it, and what would then be no edit without a word.
LIKELY = (ENDING, ".edit.yml")
_MEND = "mend it (docs/datasets.md), or remove it"


def is_edit(name: str) -> bool:
    """Whether a file is meant as a hand edit."""
    return name.lower().endswith(LIKELY)


def list_edits(raw: Path) -> list[str]:
    """The files below a folder that are meant as hand edits, without hidden ones, such as macOS's ._a.png.edit.yaml."""
    found = list[str]()
    for parent, folders, names in os.walk(raw):
        folders[:] = [name for name in folders if not name.startswith(".")]
        edits = (Path(parent, name) for name in names if is_edit(name) and not name.startswith("."))
        found += [path.relative_to(raw).as_posix() for path in edits]
    return found


def read_edit(raw: Path, picture: str, follow_links: bool = False) -> PictureEdit | None:
    """A picture's hand edit; None if it has none.

    Args:
        raw: the dataset's folder.
        picture: its name below it.

    Raises:
        UserError: the file must not be opened, or is no edit; `where` is its name below the dataset's folder.
    """
    name = picture + ENDING
    path = raw / name
    if not os.path.lexists(path):
        return None
    if found := find_obstacle(path, raw.resolve(), follow_links):
        raise UserError(f"{found.reason}{f' ({found.detail})' if found.detail else ''}", where=name, fix=found.fix)
    if path.is_dir():
        raise UserError("a folder, no regular file", where=name, fix="remove it")
    try:
        return check(PictureEdit, read_yaml(path))
    except ConfigError as error:
        raise UserError("; ".join(error.problems), where=name, fix=_MEND) from error
    except UserError as error:
        raise UserError(error.what, where=name, fix=_MEND) from error


def read_edits(
    raw: Path, files: Iterable[str], pictures: Iterable[str], follow_links: bool = False
) -> tuple[dict[str, PictureEdit], list[UnusableFile], list[str]]:
    """The edits of a dataset's pictures, the pictures whose edit cannot be used, and the files that are of no picture.

    Args:
        files: that are meant as edits, below the dataset's folder.
        pictures: their names.
    """
    known, edits, bad, lonely = set(pictures), dict[str, PictureEdit](), list[UnusableFile](), list[str]()
    for name in sorted(files):
        picture = name.removesuffix(ENDING)
        if picture == name or picture not in known:
            lonely.append(name)
            continue
        try:
            if edit := read_edit(raw, picture, follow_links):
                edits[picture] = edit
        except UserError as error:
            bad.append(UnusableFile(picture, "its hand edit cannot be used", error.fix, f"{name}: {error.what}"))
    return edits, bad, lonely


def write_edit(raw: Path, picture: str, edit: PictureEdit | None) -> None:
    """Write a picture's hand edit, whole or not at all; None removes the file.

    Raises:
        UserError: the disk is full or not writable; the old file, if any, is intact.
    """
    path = raw / (picture + ENDING)
    if edit is None:
        with explaining_disk_errors(path):
            path.unlink(missing_ok=True)
        return
    values = edit.model_dump(exclude_none=True, exclude_defaults=True)
    crop = values.pop("crop", None)
    text = yaml.dump(values, Dumper=_Dumper, allow_unicode=True, width=2**20) if values else ""
    # A link goes on to lead there.
    write_text(path.resolve(), text + (f"crop: {crop}\n" if crop else ""))


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as lines, as people do."""


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)
