"""What `prepare` has found by decoding a dataset's pictures, which a review does not do again."""

from collections.abc import Sequence
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
        group: the first by name of the pictures that look like it or are it; "": none is.
        likeness: equal for pictures that look the same; "": nobody has looked.
    """

    findings: tuple[str, ...] = ()
    group: str = ""
    likeness: str = ""


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
    known = [row for row in rows if _was_there(raw / row.source, made)]
    alike: dict[str, list[PreparedRow]] = {}
    for row in sorted(known, key=lambda row: row.source):
        alike.setdefault(row.likeness, []).append(row)
    return {row.source: _tell(row, alike[row.likeness], settings) for row in select_files(known)}


def _tell(row: PreparedRow, alike: Sequence[PreparedRow], settings: PrepareSettings) -> Decoded:
    # What is seen without decoding the review tells of the picture as it is now.
    findings = describe_picture(row, settings, ("blurred", "border", "black_mask"))
    others = [one for one in alike if one.source != row.source]
    kinds = (
        ("same_file", "the same content as", [one for one in others if one.sha256 == row.sha256]),
        ("look_alike", "looks like", [one for one in others if one.sha256 != row.sha256]),
    )
    told = [_name(what, found) for name, what, found in kinds if found and getattr(settings.findings, name) != "off"]
    if settings.findings.in_both_sets != "off":
        # A file may be in both by itself: in two folders of one dataset, or for two subsets.
        across = {side: [one for one in alike if one.is_reg == side] for side in (False, True)}
        if across[False] and across[True]:
            other = "training" if row.is_reg else "regularisation"
            told.append(_name(f"also for {other}:", across[not row.is_reg]))
    return Decoded((*findings, *told), alike[0].source if told else "", row.likeness)


def _name(what: str, rows: Sequence[PreparedRow]) -> str:
    return f"{what} {', '.join(dict.fromkeys(row.source for row in rows))}"


def _was_there(path: Path, made: int) -> bool:
    """Whether a picture is as old as what was made of it."""
    try:
        return path.stat().st_mtime_ns <= made
    except OSError:
        return False
