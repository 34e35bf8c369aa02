"""The sweep's table: for the terminal, and as CSV."""

import csv
import io
from collections.abc import Sequence
from typing import Any

from lorakiln.metrics import list_metrics
from lorakiln.sweep.objectives import DEFAULT, is_less_better
from lorakiln.sweep.results import COSTS

# At least; of others four.
DECIMALS = {**{metric.board: metric.digits for metric in list_metrics(None) if metric.board}, **COSTS}
MOST_DECIMALS = 6  # as the reports have them


def choose_decimals(name: str, values: Sequence[float]) -> int:
    """So many that what differs looks different."""
    least, kinds = DECIMALS.get(name, 4), len({round(value, MOST_DECIMALS) for value in values})
    fits = (n for n in range(least, MOST_DECIMALS) if len({round(value, n) for value in values}) == kinds)
    return next(fits, MOST_DECIMALS)


def format_table(
    rows: Sequence[dict[str, Any]],
    bases: Sequence[dict[str, Any]],
    objectives: Sequence[str],
    questions: Sequence[str] = (),
) -> str:
    """The jobs and their base models, the best first, with what each training took; what the stars mean stands below.

    Args:
        rows: of the jobs; `bases` have "job", likeness, obedience, and no "number".
        questions: names of the shares of pictures that are right.
    """
    costs = [name for name in COSTS if any(name in row for row in rows)]
    names = list(dict.fromkeys([*DEFAULT, *objectives, *questions, *costs]))
    places = {name: choose_decimals(name, [row[name] for row in (*rows, *bases) if name in row]) for name in names}
    head = ["#", "job", *names, "front"]
    lines = []
    for row in sort_rows([*rows, *bases], objectives[0]):
        numbers = [f"{row[name]:.{places[name]}f}" if name in row else "" for name in names]
        mark = "**" if row.get("best") else "*" if row.get("on_front") else ""
        lines.append([str(row.get("number", "")), row["job"], *numbers, mark])
    widths = [max(len(line[column]) for line in (head, *lines)) for column in range(len(head))]
    text = [_line(line, widths) for line in (head, *lines)]
    star = "*  on the front: no other job is as good in all and better in one;  " if len(objectives) > 1 else ""
    return "\n".join([*text, "", f"{star}**  the best"])


def format_csv(rows: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def sort_rows(rows: Sequence[dict[str, Any]], first: str) -> list[dict[str, Any]]:
    """By the first objective; what has no such number, as a base has no validation loss, comes last."""
    sign = 1 if is_less_better(first) else -1
    return sorted(rows, key=lambda row: sign * row[first] if first in row else float("inf"))


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    number, job, *values = (
        cell.ljust(width) if column in (1, len(cells) - 1) else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([number, job, *values]).rstrip()
