"""What `prepare` has found by decoding a dataset's pictures, which a review does not do again."""

from dataclasses import dataclass
from pathlib import Path

from lorakiln.console.errors import UserError
from lorakiln.facts.dataset import Dataset
from lorakiln.prepare.findings import describe_picture
from lorakiln.rows import PreparedRow, read_prepared, select_files
from lorakiln.schema.prepare import PrepareSettings


@dataclass(frozen=True)
class Decoded:
    """Of one picture.

    Attributes:
        findings: what is odd, in words.
        group: the first by name of the pictures that look like it; "": none does.
    """

    findings: tuple[str, ...] = ()
    group: str = ""


def read_decoded(prepared: Path, raw: Path, settings: PrepareSettings) -> dict[str, Decoded]:
    """By the pictures' files below the dataset's folder; of what was changed since then nothing, and nothing at all
    where the prepared folder is absent, damaged or of another dataset.

    Args:
        prepared: what `prepare` wrote.
        raw: the dataset's folder.
        settings: that say what is looked for.
    """
    try:
        if Path(Dataset.read(prepared / "dataset.json").name).name != raw.name:
            return {}
        rows, made = read_prepared(prepared), (prepared / "metadata.jsonl").stat().st_mtime_ns
    except (UserError, OSError, ValueError):  # which the next run of `prepare` tells
        return {}
    known = [row for row in select_files(rows) if _was_there(raw / row.source, made)]
    alike: dict[str, list[str]] = {}
    for row in known:
        alike.setdefault(row.likeness, []).append(row.source)
    return {row.source: _tell(row, sorted(alike[row.likeness]), settings) for row in known}


def _tell(row: PreparedRow, alike: list[str], settings: PrepareSettings) -> Decoded:
    # What is seen without decoding the review tells of the picture as it is now.
    findings = describe_picture(row, settings, ("blurred", "border"))
    if len(alike) == 1 or settings.findings.look_alike == "off":
        return Decoded(tuple(findings))
    others = ", ".join(name for name in alike if name != row.source)
    return Decoded((*findings, f"looks like {others}"), alike[0])


def _was_there(path: Path, made: int) -> bool:
    """Whether a picture is as old as what was made of it."""
    try:
        return path.stat().st_mtime_ns <= made
    except OSError:
        return False
