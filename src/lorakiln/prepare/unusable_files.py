"""Files that cannot be used: what, why, and what to do about it."""

import re
from collections.abc import Sequence
from pathlib import Path

from lorakiln.artefacts.json_files import write_jsonl
from lorakiln.console.errors import UserError
from lorakiln.console.terminal_text import escape_line
from lorakiln.prepare.findings import Finding
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


def drop_settings(fix: str) -> str:
    """A fix without the settings of `prepare` that it names, for commands that have none: "crop it, or raise
    prepare.max_aspect" is "crop it"."""
    return re.split(r",(?: or)? (?:set|raise|lower) prepare\.", fix)[0]


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


def make_refusal(
    raw: Path, bad: Sequence[UnusableFile], usable: int, full_list: Path, findings: Sequence[Finding] = ()
) -> UserError:
    """The error about all bad files of a dataset; a list too long for a message is written to `full_list`.

    Args:
        usable: how many pictures are good.
        findings: what the settings call errors.
    """
    full_list.unlink(missing_ok=True)
    what, fix = [], ""
    if bad:
        fix = "mend or remove these files"
        fix += ", or set prepare.on_bad=skip to go on without them" if usable else ": no usable picture is left"
        count = f"{len(bad)} file{'s' if len(bad) > 1 else ''} of {len(bad) + usable} cannot be used"
        what.append(f"{count}:\n{explain_unusable(bad)}")
    if findings:
        levels = ", ".join(f"prepare.findings.{one.name}=warn" for one in findings)
        fix += ("; " if fix else "") + f"mend or take out what was found, or set {levels}"
        what.append("\n".join(["findings that are errors:", *map(_explain_finding, findings)]))
    if max(len(bad), *(len(one.pictures) for one in findings), 0) > LISTED:
        found = [{"source": line, "reason": one.sentence, "fix": ""} for one in findings for line in one.pictures]
        write_jsonl(full_list, [*(entry.record() for entry in bad), *found])
        fix += f"; the full list is in {full_list}"
    return UserError("\n".join(what), where=raw, fix=fix)


def _explain_finding(finding: Finding) -> str:
    count = len(finding.pictures)
    lines = [f"  {finding.sentence} ({count}):", *(f"    {escape_line(line)}" for line in finding.pictures[:LISTED])]
    return "\n".join(lines + ([f"    and {count - LISTED} more"] if count > LISTED else []))
