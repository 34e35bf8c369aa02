"""What a sweep's jobs found: a table, the front, the best settings as an experiment, a grid and a page."""

import csv
import fcntl
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from lorakiln.artefacts.records import read_jsonl, write_json, write_text
from lorakiln.sweep import objectives as wanted
from lorakiln.sweep.front import best_of, pareto_front
from lorakiln.sweep.jobs import Outcome
from lorakiln.sweep.objectives import DEFAULT, METRICS, full_weight, read_numbers, values_of
from lorakiln.sweep.titles import short_titles

GRID_PROMPTS, GRID_JOBS = 4, 24


@dataclass(frozen=True)
class Result:
    """A finished job's numbers, at the LoRA's full weight, by the metric's name."""

    outcome: Outcome
    values: dict[str, float]
    base: dict[str, float]

    @property
    def point(self) -> tuple[float, ...]:
        """Likeness and obedience."""
        return values_of(self.values, DEFAULT)


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
    with (root / "sweep.lock").open("w") as lock:
        # Processes that share a study may end together.
        fcntl.flock(lock, fcntl.LOCK_EX)
        results = [Result(one, *read_numbers(one.job.folder)) for one in outcomes if one.has_result]
        others = [one for one in outcomes if not one.has_result]
        values |= {result.outcome.job.folder: values_of(result.values, objectives) for result in results}
        if results:
            _write(results, others, root, objectives)
    failed = [one for one in others if one.status != "pruned"]
    if failed:
        print(f"\n{len(failed)} of {len(outcomes)} jobs failed:")
        print("\n".join(f"  {one.job.title}: {one.reason}" for one in failed))
    return values


def _write(results: Sequence[Result], others: Sequence[Outcome], root: Path, objectives: Sequence[str]) -> None:
    from lorakiln.sweep.page import page
    from lorakiln.sweep.plots import plot_front

    points = [wanted.more_is_better(values_of(result.values, objectives), objectives) for result in results]
    front, best = set(pareto_front(points)), best_of(points)
    rows = [_row(result, i in front, i == best) for i, result in enumerate(results)]
    write_text(root / "sweep.csv", _csv(rows))
    failures = [
        {"title": one.job.title, "folder": str(one.job.folder), "status": one.status, "reason": one.reason}
        for one in others
    ]
    write_json(root / "sweep.json", {"objectives": list(objectives), "jobs": rows, "failed": failures})
    write_text(root / "best.yaml", best_experiment(results[best], root))
    plot_front(results, sorted(front), best, root / "front.png")
    _comparison(results, best, root)
    write_text(root / "sweep.html", page(rows, failures, root, objectives))
    print("\n" + _table(rows, objectives))
    told = " and ".join(objectives)
    why = f"on the front, best mean rank in {told}" if len(objectives) > 1 else f"by {told}"
    print(f"\nbest: {results[best].outcome.job.title}  ({why})")
    print(f"  as an experiment: cp {root / 'best.yaml'} conf/experiment/NAME.yaml, then +experiment=NAME")
    print(f"page: {root / 'sweep.html'}", flush=True)


def _row(result: Result, on_front: bool, best: bool) -> dict[str, Any]:
    job = result.outcome.job
    return {
        "job": job.title,
        "folder": str(job.folder),
        "status": result.outcome.status,
        "seconds": round(result.outcome.seconds, 1),
        **dict(zip(DEFAULT, result.point, strict=True)),
        "on_front": on_front,
        "best": best,
        **{name: value for name, value in result.values.items() if name not in METRICS.values()},
    }


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _table(rows: Sequence[dict[str, Any]], objectives: Sequence[str]) -> str:
    """For the terminal: a star for what is on the front, two for the best."""
    width = max(len("job"), *(len(row["job"]) for row in rows))
    more = [name for name in objectives if name not in DEFAULT]
    lines = [f"{'job':<{width}}  likeness  obedience  {''.join(f'{name}  ' for name in more)}front"]
    first = objectives[0]
    for row in sorted(rows, key=lambda row: row[first] if wanted.is_less_better(first) else -row[first]):
        mark = "**" if row["best"] else "*" if row["on_front"] else ""
        others = "".join(f"{row[name]:{len(name)}.4f}  " for name in more)
        lines.append(f"{row['job']:<{width}}  {row['likeness']:8.3f}  {row['obedience']:9.2f}  {others}{mark}")
    return "\n".join(lines)


def best_experiment(result: Result, root: Path) -> str:
    """An experiment file that repeats a job: every setting, so that later changes of the defaults change nothing."""
    job = result.outcome.job
    settings = {name: space for name, space in job.settings.items() if name != "paths"}
    # Alone it is evaluated in full.
    settings["evaluate"] = {**settings["evaluate"], "quick": None}
    header = [
        "# @package _global_",
        f"# The best of {root}: {' '.join(job.overrides)}",
        f"# likeness {result.point[0]:.3f}, obedience {result.point[1]:.2f}. Copied to conf/experiment/NAME.yaml:",
        "#   python -m train +experiment=NAME",
    ]
    return "\n".join(header) + "\n" + yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)


def _comparison(results: Sequence[Result], best: int, root: Path) -> None:
    """One row a prompt, one column a job, all from the first seed at full weight; the base in front. Of many jobs the
    best and the last.
    """
    from lorakiln.evaluate.grids import Grid, save_grid

    if len(results) > GRID_JOBS:
        results = [results[best], *(one for one in results if one is not results[best])][:GRID_JOBS]
    tables = [_samples(result.outcome.job.folder) for result in results]
    weight = full_weight(key[2] for key in tables[0])
    seed = min(key[1] for key in tables[0])
    prompts = [key[0] for key in tables[0] if key[1] == seed and key[2] == weight]
    shared = [prompt for prompt in prompts if all((prompt, seed, weight) in table for table in tables)][:GRID_PROMPTS]
    if not shared:
        return

    def cell(table: dict, prompt: str, at: float) -> SimpleNamespace | None:
        path = table.get((prompt, seed, at))
        return path and SimpleNamespace(file_name=path)

    cells = [[cell(tables[0], prompt, 0.0), *(cell(table, prompt, weight) for table in tables)] for prompt in shared]
    columns = ["base", *short_titles([result.outcome.job.title for result in results])]
    grid = Grid("comparison", f"The sweep's LoRAs, seed {seed}", shared, columns, cells)
    save_grid(grid, Path(), root / "comparison.png")


def _samples(folder: Path) -> dict[tuple[str, int, float], Path]:
    """(prompt, seed, weight) -> picture, of the report's samples with the trigger words."""
    samples = folder / "report" / "samples"
    return {
        (row["prompt"], row["seed"], row["weight"]): samples / row["file_name"]
        for row in read_jsonl(samples / "metadata.jsonl")
        if row.get("with_trigger", True)
    }
