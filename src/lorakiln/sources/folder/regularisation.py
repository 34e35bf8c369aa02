"""Folders of regularisation pictures that were drawn from a base: regularisation.json in them says so, and how."""

from pathlib import Path, PurePosixPath

from lorakiln.console.errors import UserError
from lorakiln.facts.file import Facts
from lorakiln.sources import SourceContents, Subset, UnusableFile

RECORD = "regularisation.json"


class DrawnPictures(Facts):
    """How a folder's pictures were drawn, 0000.png with the first seed, and each other with the next.

    Attributes:
        prompt, negative: in words; the prompt is the pictures' caption.
        base: as it was named; `base_hash` is its identity.
        seed: the first.
        width, height: pixels.
    """

    prompt: str
    negative: str
    base: str
    base_hash: str
    seed: int
    steps: int
    guidance: float
    width: int
    height: int


def mark_drawn(found: SourceContents, raw: Path, records: list[str]) -> None:
    """Make subsets for regularisation of the pictures beside records, whose files are named below `raw`."""
    for name in records:
        try:
            record = DrawnPictures.read(raw / name)
        except UserError as error:
            found.bad.append(UnusableFile(name, "no record of how pictures were drawn", "draw them again", error.what))
            continue
        folder, subset = PurePosixPath(name).parent, Subset(is_reg=True, class_tokens=" ".join(record.prompt.split()))
        found.subsets.update({one: subset for one in found.pictures if PurePosixPath(one).parent == folder})
    if records:
        found.read_by = f"as {RECORD} says"
