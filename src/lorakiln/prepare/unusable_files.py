"""Files that cannot be used: what, why, and what to do about it."""

from collections.abc import Sequence
from pathlib import Path

from lorakiln.artefacts.json_files import write_jsonl
from lorakiln.console.errors import UserError
from lorakiln.console.terminal_text import escape_line
from lorakiln.sources import UnusableFile

LISTED = 20  # of one reason, in messages


class Refused(Exception):
    """A picture that cannot be used; the attributes are those of `UnusableFile`."""

    def __init__(self, reason: str, fix: str, detail: str = "") -> None:
        super().__init__(reason, fix, detail)
        self.reason, self.fix, self.detail = reason, fix, detail

    def of(self, source: str) -> UnusableFile:
        return UnusableFile(source, self.reason, self.fix, self.detail)


def write_quarantine(path: Path, bad: Sequence[UnusableFile]) -> None:
    write_jsonl(path, (entry.record() for entry in bad))


def explain_unusable(bad: Sequence[UnusableFile]) -> str:
    """The files grouped by reason, with each reason's fix; of each at most LISTED are named."""
    groups: dict[tuple[str, str], list[UnusableFile]] = {}
    for entry in bad:
        groups.setdefault((entry.reason, entry.fix), []).append(entry)
    lines = []
    for (reason, fix), entries in groups.items():
        lines.append(f"  {reason} ({len(entries)}); {fix}:")
        shown = [f"    {escape_line(e.source)}" + (f" ({e.detail})" if e.detail else "") for e in entries[:LISTED]]
        lines += shown + ([f"    and {len(entries) - LISTED} more"] if len(entries) > LISTED else [])
    return "\n".join(lines)


def make_refusal(raw: Path, bad: Sequence[UnusableFile], usable: int, full_list: Path) -> UserError:
    """The error about all bad files of a dataset; a list too long for a message is written to `full_list`.

    Args:
        usable: how many pictures are good.
    """
    full_list.unlink(missing_ok=True)
    fix = "mend or remove these files"
    fix += ", or set prepare.on_bad=skip to go on without them" if usable else ": no usable picture is left"
    if len(bad) > LISTED:
        write_quarantine(full_list, bad)
        fix += f"; the full list is in {full_list}"
    count = f"{len(bad)} file{'s' if len(bad) > 1 else ''} of {len(bad) + usable} cannot be used"
    return UserError(f"{count}:\n{explain_unusable(bad)}", where=raw, fix=fix)
