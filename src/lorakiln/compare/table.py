"""A comparison in a terminal's 80 columns."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from lorakiln.compare.entrants import Entrant
from lorakiln.compare.measuring import Measured
from lorakiln.compare.verdict import Verdict
from lorakiln.console.terminal_text import escape_line
from lorakiln.evaluate.summary_text import TABLE
from lorakiln.metrics import format_weight
from lorakiln.worth.assessment import Assessed
from lorakiln.worth.intervals import Estimate

UNKNOWN = "-"
# What each column is, and the row's number in it.
HEADINGS = ("", "worth (95%)", "learned", "detail", "follows", "seeds", "whole", "copies", "bleed", "state")


def format_table(measured: Measured, verdict: Verdict) -> str:
    """Which letter is which file, a row of numbers for the base and each file, and what they say."""
    text = io.StringIO()
    console = Console(file=text, width=TABLE, highlight=False)
    for one in measured.assessed:
        console.print(_format_entrant(one.candidate), markup=False, overflow="ignore", no_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in HEADINGS:
        table.add_column(name, justify="left" if name in ("", "state") else "right", no_wrap=True)
    table.add_row("base", *list_cells(measured.base), "")
    for one in measured.assessed:
        table.add_row(one.candidate.letter, *list_cells(one), one.state)
    console.print(table)
    for sentence in (verdict.headline, *verdict.more):
        console.print(sentence, markup=False)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _format_entrant(entrant: Entrant) -> str:
    """One line; of a long path its end."""
    more = "" if entrant.weight == 1 else f" at {format_weight(entrant.weight)}"
    more += f", {entrant.trigger}" if entrant.trigger else ""
    path, room = escape_line(str(entrant.file)), TABLE - 3
    more = escape_line(more)[: room // 2]
    shown = path if len(path) + len(more) <= room else "…" + path[len(path) + len(more) - room + 1 :]
    return f"{entrant.letter}  {shown}{more}"


def list_cells(assessed: Assessed[Any]) -> list[str]:
    """The numbers of one row, from worth to bleed."""
    factors, measures = assessed.factors, assessed.measures
    copies = UNKNOWN if np.isnan(measures.copies).all() else f"{assessed.copies:.0%}"
    agreement = UNKNOWN if np.isnan(measures.agreeing).all() else f"{factors.agreement:.0%}"
    shares: Sequence[float] = (factors.learned, factors.detail, factors.followed)
    return [
        format_worth(assessed.worth),
        *(f"{share:.0%}" for share in shares),
        agreement,
        f"{factors.whole:.0%}",
        copies,
        UNKNOWN if assessed.bleed is None else f"{assessed.bleed.mean:.0%}",
    ]


def format_worth(worth: Estimate) -> str:
    """ "0.52 0.41-0.60"."""
    span = "" if worth.low is None or worth.high is None else f" {worth.low:.2f}-{worth.high:.2f}"
    return f"{worth.mean:.2f}{span}"
