"""Write a sweep's table into a page: `python -m pipelines.sweep_tables runs/custom/sweep docs/adapters.md`.

It stands between two lines, `<!-- sweep: begin -->` and `<!-- sweep: end -->`, in the jobs' order: the rate, what the
reports say of every question and of the validation loss, and what each training took. In brackets are 95% intervals.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lorakiln.artefacts.json_files import read_json, write_text
from lorakiln.console.errors import UserError, exit_on_user_error
from lorakiln.metrics import Metric, list_metrics
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.strict_yaml import read_yaml
from lorakiln.sweep.objectives import VALIDATION_LOSS, read_entries, read_numbers
from lorakiln.sweep.results import read_costs
from lorakiln.sweep.titles import make_short_titles

BETWEEN = re.compile(r"(?<=<!-- sweep: begin -->\n).*(?=<!-- sweep: end -->)", re.DOTALL)
TITLES = ("job", "rate")
TOOK = ("validation loss", "parameters", "seconds", "GiB")


def format_sweep(root: Path) -> str:
    """A finished sweep as a table of Markdown, the base model in its first row, and a line of what is not in it.

    Args:
        root: the sweep's folder, with sweep.json and the jobs' folders as the sweep has left them.

    Raises:
        Missing, Damaged: there is no such sweep.
    """
    told = read_json(root / "sweep.json")
    jobs = sorted(told["jobs"], key=lambda row: row["number"])
    folders = [Path(row["folder"]) for row in jobs]
    settings = [read_yaml(folder / "resolved.yaml") for folder in folders]
    asked = [metric for one in settings for metric in _list_questions(one)]
    questions = list({metric.name: metric for metric in asked}.values())
    base = read_entries(folders[0])
    lines = [[*TITLES, *(metric.title for metric in questions), *TOOK]]
    lines += [["---"] * len(lines[0])]
    lines += [["base model", "", *(_share(base[metric.name][1]) for metric in questions), "", "", "", ""]]
    for row, folder, one in zip(jobs, folders, settings, strict=True):
        lines.append([_shorten(row["job"]), f"{one['train']['optimizer']['lr']:g}", *_format_job(folder, questions)])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    failed = ", ".join(f"{_shorten(one['title'])} ({one['status']})" for one in told["failed"])
    return f"\n{table}\n\n" + (f"Without a result: {failed}.\n\n" if failed else "")


def replace_table(page: str, table: str, where: str) -> str:
    """The page with the table between its two marks.

    Raises:
        UserError: it has no such marks, or several.
    """
    made, count = BETWEEN.subn(lambda _: table, page)
    if count != 1:
        fix = "put the lines <!-- sweep: begin --> and <!-- sweep: end --> where the table is to stand"
        raise UserError("no place for a sweep's table", where=where, fix=fix)
    return made


def _list_questions(settings: dict[str, Any]) -> list[Metric]:
    return [one for one in list_metrics(EvaluateSettings.model_validate(settings["evaluate"])) if one.is_answer]


def _format_job(folder: Path, questions: Sequence[Metric]) -> list[str]:
    entries, costs = read_entries(folder), read_costs(folder)
    loss = read_numbers(folder)[0].get(VALIDATION_LOSS)
    shares = [_share(entries[metric.name][0]) if metric.name in entries else "" for metric in questions]
    seconds, memory = costs.get("training_seconds"), costs.get("peak_memory_gib")
    return [
        *shares,
        "" if loss is None else f"{loss:.4f}",
        f"{costs['parameters']:,.0f}" if "parameters" in costs else "",
        "" if seconds is None else f"{seconds:.0f}",
        "" if memory is None else f"{memory:.2f}",
    ]


def _share(entry: dict[str, Any]) -> str:
    """ "92% (77 to 98)"."""
    between = f" ({100 * entry['low']:.0f} to {100 * entry['high']:.0f})" if "low" in entry else ""
    return f"{100 * entry['mean']:.0f}%{between}"


def _shorten(title: str) -> str:
    """ "+experiment=kinds/lora" -> "lora"; of other overrides the last words of their keys."""
    if title.count("=") == 1 and title.lstrip("+").startswith("experiment="):
        return f"`{title.rpartition('/')[2].rpartition('=')[2]}`"
    return make_short_titles([title.split(" ")])[0]


def main() -> None:
    parser = argparse.ArgumentParser(description="Write a sweep's table into a page, between its two marks.")
    parser.add_argument("sweep", type=Path, help="the sweep's folder, with its sweep.json")
    parser.add_argument("page", type=Path, help="a Markdown file with <!-- sweep: begin --> and <!-- sweep: end -->")
    given = parser.parse_args()
    if not given.page.is_file():
        raise UserError("no such file", where=given.page, fix="name a page, such as docs/adapters.md")
    page = given.page.read_text(encoding="utf-8")
    write_text(given.page, replace_table(page, format_sweep(given.sweep), str(given.page)))


if __name__ == "__main__":
    sys.exit(exit_on_user_error(main))
