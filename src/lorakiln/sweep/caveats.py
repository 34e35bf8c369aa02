"""When a sweep's best is no better than chance would have it."""

from collections.abc import Sequence
from typing import Any

from lorakiln.sweep.objectives import METRICS, VALIDATION_LOSS, is_less_better
from lorakiln.sweep.pareto import Point, choose_best
from lorakiln.sweep.results import Result
from lorakiln.worth.intervals import FEWEST_PROMPTS


def list_caveats(results: Sequence[Result], points: Sequence[Point], best: int, objectives: Sequence[str]) -> list[str]:
    """Sentences; none if the best stands clear of its base and of the second best.

    Args:
        points: the results' values of the objectives, more being better.
    """
    chosen = results[best]
    entries = {name: chosen.entries[METRICS.get(name, name)] for name in objectives if name != VALIDATION_LOSS}
    found = [said for name, entry in entries.items() if (said := _against_base(name, entry))]
    others = [place for place in range(len(results)) if place != best]
    if others and (near := _second(chosen, results[others[choose_best([points[place] for place in others])]], entries)):
        found.append(near)
    prompts = min((one.prompts for one in results if one.prompts), default=0)
    if entries and 0 < prompts < FEWEST_PROMPTS:
        found.append(f"only {prompts} prompt{'s were' if prompts > 1 else ' was'} drawn, too few to tell jobs apart")
    return found


def _against_base(name: str, entry: dict[str, Any]) -> str:
    """The 95% interval of the differences on the same prompts and seeds tells most."""
    step = entry.get("difference", {})
    if "low" not in step:
        return ""
    between = f"{step['low']:+.3g} to {step['high']:+.3g}"
    low, high = (-step["high"], -step["low"]) if is_less_better(name) else (step["low"], step["high"])
    if high < 0:
        more = "less" if is_less_better(name) else "more"
        return f"the base model has {more} {name} than the best job (which differs by {between})"
    if low <= 0:
        return f"in {name} the best job cannot be told from the base model (it differs by {between})"
    return ""


def _second(chosen: Result, second: Result, entries: dict[str, dict[str, Any]]) -> str:
    known = {name: entry for name, entry in entries.items() if "low" in entry}
    values = {name: second.values[METRICS.get(name, name)] for name in known}
    if not known or not all(known[name]["low"] <= values[name] <= known[name]["high"] for name in known):
        return ""
    return f"the second best, job {second.outcome.job.number}, lies within the best's 95% interval"
