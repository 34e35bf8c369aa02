"""The summary of a sweep: a table, the front, the best settings as an experiment, a grid and a page."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from lorakiln.artefacts.json_files import write_json, write_text
from lorakiln.console.counts import format_count
from lorakiln.metrics import list_metrics
from lorakiln.schema.evaluate import EvaluateSettings
from lorakiln.schema.strict_yaml import dump_yaml, read_yaml
from lorakiln.sweep import objectives as wanted
from lorakiln.sweep.base_models import BaseModelResult, collect_base_models
from lorakiln.sweep.jobs import Outcome
from lorakiln.sweep.objectives import DEFAULT, METRICS, WORTH, select_values
from lorakiln.sweep.pareto import choose_best, find_pareto_front
from lorakiln.sweep.results import Result
from lorakiln.sweep.table import format_csv, format_table


def sum_up(
    outcomes: Sequence[Outcome], root: Path, objectives: Sequence[str] = DEFAULT
) -> dict[Path, tuple[float, ...] | None]:
    """Write sweep.csv, sweep.json, best.yaml, front.png, comparison.png and sweep.html into `root`; print the table.

    Args:
        objectives: what front and best are reckoned by.

    Returns:
        The objectives' values by job folder; None for jobs without a result.

    Raises:
        UserError: the reports have no such objective.
    """
    values: dict[Path, tuple[float, ...] | None] = {one.job.folder: None for one in outcomes}
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / "sweep.lock"):  # processes that share a study may end together
        results = [Result.read(one) for one in outcomes if one.has_result]
        others = [one for one in outcomes if not one.has_result]
        values |= {result.outcome.job.folder: select_values(result.values, objectives) for result in results}
        if results:
            _write(results, others, root, objectives)
    failed = [one for one in others if one.status != "pruned"]
    if failed:
        print(f"\n{len(failed)} of {format_count(len(outcomes), 'job')} failed:")
        print("\n".join(f"  {one.job.title}: {one.reason}" for one in failed))
    return values


def _write(results: Sequence[Result], others: Sequence[Outcome], root: Path, objectives: Sequence[str]) -> None:
    from lorakiln.sweep.caveats import list_caveats
    from lorakiln.sweep.comparison import save_comparison
    from lorakiln.sweep.page import format_page
    from lorakiln.sweep.plots import plot_front

    front, decides = set(find_pareto_front(_list_points(results, objectives))), choose_deciding(results, objectives)
    points = _list_points(results, decides)
    best = choose_best(points)
    rows = [_row(result, i in front, i == best) for i, result in enumerate(results)]
    bases = [_base_row(base) for base in collect_base_models(results)]
    warnings = list_caveats(results, points, best, decides)
    write_text(root / "sweep.csv", format_csv([*rows, *bases]))
    failures = [
        {"title": one.job.title, "folder": str(one.job.folder), "status": one.status, "reason": one.reason}
        for one in others
    ]
    told = {
        "objectives": list(objectives),
        "best_by": list(decides),
        "jobs": rows,
        "bases": bases,
        "warnings": warnings,
        "failed": failures,
    }
    write_json(root / "sweep.json", told)
    write_text(root / "best.yaml", best_experiment(results[best], root))
    plot_front(results, sorted(front), best, root / "front.png")
    save_comparison(results, best, root / "comparison.png")
    write_text(root / "sweep.html", format_page(rows, bases, warnings, failures, root, objectives, decides))
    print("\n" + format_table(rows, bases, list(dict.fromkeys([*decides, *objectives])), _list_questions(results)))
    names = " and ".join(decides)
    why = f"on the front, best mean rank in {names}" if len(decides) > 1 else f"by {names}"
    print(f"\nbest: {results[best].outcome.job.title}  ({why})")
    for warning in warnings:
        print(f"  WARNING: {warning}")
    copy = f"cp {shlex.quote(str(root / 'best.yaml'))} conf/experiment/NAME.yaml"
    print(f"  as an experiment: {copy}, then +experiment=NAME")
    print(f"page: {root / 'sweep.html'}", flush=True)


def choose_deciding(results: Sequence[Result], objectives: Sequence[str]) -> Sequence[str]:
    """What the best is chosen by: the objectives or, where none were asked for and every job has it in the same way,
    the worth.
    """
    asked, ways = tuple(objectives) != DEFAULT, {result.chosen for result in results}
    known = all(WORTH in result.values for result in results)
    return (WORTH,) if known and len(ways) == 1 and not asked else objectives


def _list_points(results: Sequence[Result], names: Sequence[str]) -> list[tuple[float, ...]]:
    return [wanted.orient_values(select_values(result.values, names), names) for result in results]


def _row(result: Result, on_front: bool, best: bool) -> dict[str, Any]:
    job = result.outcome.job
    return {
        "number": job.number,
        "job": job.title,
        "folder": str(job.folder),
        "status": result.outcome.status,
        "seconds": round(result.outcome.seconds, 1),
        **dict(zip(DEFAULT, result.point, strict=True)),
        "on_front": on_front,
        "best": best,
        **{name: value for name, value in result.values.items() if name not in METRICS.values()},
        **result.costs,
    }


def _list_questions(results: Sequence[Result]) -> list[str]:
    """The names of the shares of pictures that are right, as the jobs' settings ask for them."""
    settings = [result.outcome.job.settings.get("evaluate", {}) for result in results]
    asked = [EvaluateSettings.model_validate(one) for one in settings if one.get("classify")]
    found = [metric.name for one in asked for metric in list_metrics(one) if metric.is_answer]
    return list(dict.fromkeys(found))


def _base_row(base: BaseModelResult) -> dict[str, Any]:
    """As a job's, where a base has such a thing."""
    values = {name: value for name, value in base.values.items() if name not in METRICS.values()}
    return {"job": base.title, **{name: base.values[METRICS[name]] for name in DEFAULT}, **values}


def best_experiment(result: Result, root: Path) -> str:
    """An experiment file that repeats a job: every setting, so that later changes of the defaults change nothing."""
    job = result.outcome.job
    # As the job has checked them, with the schema's defaults.
    checked = read_yaml(job.folder / "resolved.yaml")
    settings = {name: space for name, space in checked.items() if name != "paths"}
    # Alone it is evaluated in full.
    settings["evaluate"] = {**settings["evaluate"], "quick": None}
    header = [
        "# @package _global_",
        f"# The best of {root}: {' '.join(job.overrides)}",
        f"# likeness {result.point[0]:.3f}, obedience {result.point[1]:.2f}. Copied to conf/experiment/NAME.yaml:",
        "#   python -m train +experiment=NAME",
    ]
    text = dump_yaml(settings)
    return "\n".join(header) + "\n" + text
