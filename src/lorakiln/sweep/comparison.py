"""The sweep's LoRAs side by side: the same prompts from the same seed."""

from collections.abc import Sequence
from pathlib import Path

from lorakiln.artefacts.json_files import read_jsonl
from lorakiln.evaluate.grids import Drawn, Grid, save_grid
from lorakiln.sweep.base_models import collect_base_models
from lorakiln.sweep.objectives import find_full_weight
from lorakiln.sweep.results import Result
from lorakiln.sweep.titles import make_short_titles

PROMPTS, JOBS = 4, 24
# (prompt, seed, weight) -> picture
Samples = dict[tuple[str, int, float], Path]


def save_comparison(results: Sequence[Result], best: int, path: Path) -> None:
    """Write a PNG: a row for each prompt that all jobs drew, a column for each job, at full weight, each base in front
    of its jobs. Of many jobs the best and the first. Where they share no prompt there is no picture.
    """
    # An older one would be of other jobs.
    path.unlink(missing_ok=True)
    if len(results) > JOBS:
        results = [results[best], *(one for one in results if one is not results[best])][:JOBS]
    tables = [list_samples(result.outcome.job.folder) for result in results]
    weight = find_full_weight(key[2] for key in tables[0])
    seed = min(key[1] for key in tables[0])
    prompts = [key[0] for key in tables[0] if key[1] == seed and key[2] == weight]
    shared = [prompt for prompt in prompts if all((prompt, seed, weight) in table for table in tables)][:PROMPTS]
    if not shared:
        return

    titles = make_short_titles([result.outcome.job.own for result in results])
    columns, pictures = [], []
    for base in collect_base_models(results):
        columns.append(base.title)
        pictures.append((tables[base.places[0]], 0.0))
        for place in base.places:
            columns.append(f"{results[place].outcome.job.number}: {titles[place]}")
            pictures.append((tables[place], weight))
    cells = [[_cell(table, (prompt, seed, at)) for table, at in pictures] for prompt in shared]
    save_grid(Grid("comparison", f"The sweep's LoRAs, seed {seed}", shared, columns, cells), Path(), path)


def list_samples(folder: Path) -> Samples:
    """The pictures of a job's report, with the trigger words."""
    samples = folder / "report" / "samples"
    return {
        (row["prompt"], row["seed"], row["weight"]): samples / row["file_name"]
        for row in read_jsonl(samples / "metadata.jsonl")
        if row.get("with_trigger", True)
    }


def _cell(table: Samples, key: tuple[str, int, float]) -> Drawn | None:
    return Drawn(table[key]) if key in table else None
