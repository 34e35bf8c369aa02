"""The sweep on one self-contained page."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lorakiln.sweep.objectives import DEFAULT
from lorakiln.sweep.table import choose_decimals, sort_rows

_FIXED = {"number", "job", "folder", "status", "seconds", "likeness", "obedience", "on_front", "best", "link"}


def format_page(
    rows: Sequence[dict[str, Any]],
    bases: Sequence[dict[str, Any]],
    warnings: Sequence[str],
    failures: Sequence[dict[str, str]],
    root: Path,
    objectives: Sequence[str],
    decides: Sequence[str],
) -> str:
    """The HTML, its pictures inside; each job links to its own report, the base models stand among the jobs.

    Args:
        decides: what the best was chosen by.
    """
    linked = [{**row, "link": _link(Path(row["folder"]), root)} for row in rows]
    leading = list(dict.fromkeys([*DEFAULT, *decides]))  # as on the terminal
    names = [name for name in dict.fromkeys(n for row in rows for n in row) if name not in {*_FIXED, *leading}]
    files = (("Likeness against obedience", "front.png"), ("The same prompts from every job", "comparison.png"))
    pictures = [(title, _inline(root / name)) for title, name in files if (root / name).exists()]
    places = {
        name: choose_decimals(name, [row[name] for row in (*rows, *bases) if name in row])
        for name in (*leading, *names)
    }
    environment = Environment(loader=PackageLoader("lorakiln.sweep"), autoescape=True, undefined=StrictUndefined)
    template = environment.get_template("sweep.html")
    return template.render(
        rows=sort_rows([*linked, *bases], decides[0]),
        count=len(rows),
        places=places,
        warnings=warnings,
        failures=failures,
        root=root,
        leading=leading,
        names=names,
        pictures=pictures,
        objectives=objectives,
        decides=decides,
    )


def _link(folder: Path, root: Path) -> str:
    report = folder / "report" / "report.html"
    return report.relative_to(root).as_posix() if report.is_relative_to(root) else report.as_posix()


def _inline(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
