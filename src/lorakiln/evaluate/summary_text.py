"""The numbers that matter, in a few lines: printed when evaluation is done, and kept in summary.txt."""

import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from lorakiln.evaluate.score_summaries import Summary
from lorakiln.evaluate.verdict import decide_verdict, describe_change
from lorakiln.metrics import Metric, format_weight
from lorakiln.worth.intervals import Estimate

TABLE = 80  # columns, as a terminal has


def format_summary(metrics: Sequence[Metric], summary: Summary, weight: float, remarks: Sequence[str] = ()) -> str:
    """Base, LoRA and difference with their 95% intervals, TABLE columns wide; the verdict, and remarks."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    # Words are broken into lines, numbers are not.
    table.add_column("")
    for name in ("base", f"LoRA\nat {format_weight(weight)}", "difference (95%)"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", max_width=15)
    for metric in metrics:
        if weight not in summary.values.get(metric.name, {}):
            continue
        values, difference = summary.values[metric.name], summary.differences.get(metric.name, {}).get(weight)
        base = format_mean(metric, values[0.0]) if 0.0 in values else ""
        words = describe_change(metric, difference)
        change = format_difference(metric, difference) if difference else ""
        table.add_row(metric.title, base, format_mean(metric, values[weight]), change, words)
    text = io.StringIO()
    Console(file=text, width=TABLE, highlight=False).print(table)
    console = Console(file=text, width=120, highlight=False)
    for metric in metrics:
        if metric.name in summary.ceilings:
            ceiling = format_number(metric, summary.ceilings[metric.name])
            console.print(f"{metric.title}: {ceiling} among the training pictures themselves", markup=False)
    for sentence in (decide_verdict(metrics, summary, weight).headline, *remarks):
        console.print(sentence, markup=False)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def format_mean(metric: Metric, estimate: Estimate) -> str:
    """The mean: a fraction in percent, others with the metric's digits."""
    return format_number(metric, estimate.mean)


def format_interval(metric: Metric, estimate: Estimate) -> str:
    """ "0.712 to 0.734"; empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{format_number(metric, estimate.low)} to {format_number(metric, estimate.high)}"


def format_difference(metric: Metric, estimate: Estimate) -> str:
    """ "+0.120 (+0.101 to +0.138)"; fractions in percentage points: "+25 points (+12 to +38)"."""
    mean = format_number(metric, estimate.mean, signed=True) + (" points" if metric.fraction else "")
    if estimate.low is None or estimate.high is None:
        return mean
    low, high = (format_number(metric, end, signed=True) for end in (estimate.low, estimate.high))
    return f"{mean} ({low} to {high})"


def format_number(metric: Metric, value: float, signed: bool = False) -> str:
    """A value or, `signed`, a change of one."""
    digits = 0 if metric.fraction else metric.digits
    text = f"{100 * value if metric.fraction else value:{'+' if signed else ''}.{digits}f}"
    if float(text) == 0:
        # No "-0.000", and no sign where there is no change.
        text = text.lstrip("+-")
    return f"{text}%" if metric.fraction and not signed else text
