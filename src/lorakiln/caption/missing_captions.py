"""Pictures without a usable caption: one error about all of them."""

from collections.abc import Sequence
from pathlib import Path

from lorakiln.artefacts.json_files import write_jsonl
from lorakiln.console.errors import UserError
from lorakiln.console.terminal_text import escape_line
from lorakiln.sources import CaptionProblem

LISTED = 20  # of one kind, in messages


def make_refusal(raw: Path, problems: Sequence[CaptionProblem], full_list: Path) -> UserError:
    """One error about all, grouped by what is wrong; of more than LISTED the whole list goes to `full_list`."""
    full_list.unlink(missing_ok=True)
    groups: dict[str, list[CaptionProblem]] = {}
    for problem in problems:
        groups.setdefault(problem.what, []).append(problem)
    lines = []
    for what, group in groups.items():
        lines.append(f"  {what} ({len(group)}); {group[0].fix}:")
        lines += [f"    {escape_line(p.file)}" + (f" ({p.detail})" if p.detail else "") for p in group[:LISTED]]
        lines += [f"    and {len(group) - LISTED} more"] if len(group) > LISTED else []
    fix = "mend these files and run again"
    if len(problems) > LISTED:
        write_jsonl(full_list, ({"file": p.file, "what": p.what, "detail": p.detail, "fix": p.fix} for p in problems))
        fix += f"; the full list is in {full_list}"
    count = f"{len(problems)} caption{'s are' if len(problems) > 1 else ' is'} missing or cannot be used"
    return UserError(f"{count}:\n" + "\n".join(lines), where=raw, fix=fix)
