"""The tables of benchmarks/results in the pages that show them.

python -m benchmarks.results            # print them
python -m benchmarks.results --write    # into docs/benchmarks.md and README.md
"""

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks.rounds import RESULTS, ROOT, format_result, table

# In the order in which they are shown; what has no file was not measured.
TITLES = {
    "training_step": "A training step",
    "drawing": "Drawing",
    "prepare": "Preparing photographs",
    "load_models": "Loading a base",
    "scaling": "More pictures",
    "whole_run": "A whole run",
    "processes": "Training in two processes",
}
# What README shows: the benchmark, the fact of it, and what is said of it there.
SHOWN = (
    ("training_step", "CPU time of a step, theirs / ours", "a training step"),
    ("drawing", "CPU time of a picture, theirs / ours", "drawing a picture"),
    ("prepare", "CPU time of a picture, theirs / ours", "preparing a photograph of 12 megapixels"),
)
ENOUGH = 3  # rounds: a single one tells nothing of how far the next would be from it
MARKS = ("<!-- made by benchmarks.results: begin -->", "<!-- made by benchmarks.results: end -->")


def read_results(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Those that are kept, by the benchmark's name."""
    files = {name: folder / f"{name}.json" for name in TITLES}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.exists()}


def make_tables(results: dict[str, dict[str, Any]]) -> str:
    """All of them, each below its title; what was not measured is said to be so."""
    parts = []
    for name, title in TITLES.items():
        missing = f"Not measured: `python -m benchmarks.{name}`."
        parts.append(f"### {title}\n\n{format_result(results[name]) if name in results else missing}")
    return "\n\n".join(parts)


def make_summary(results: dict[str, dict[str, Any]]) -> str:
    """README's table: how many times the CPU time of ours others take, and what it was measured on."""
    rows, loads, shown = [], [], []
    for name, fact, what in SHOWN:
        if name not in results or results[name]["rounds"] < ENOUGH:
            continue
        kept = results[name]
        loads.append(f"{what}: {kept['rounds']} rounds")
        rows += [[what, other, ratio] for other, ratio in kept["facts"][fact].items()]
        shown.append(kept)
    if not rows:
        return "Not measured in enough rounds yet."
    beside = ", beside much other work" if any("Warning" in kept["load"] for kept in shown) else ""
    first = shown[0]
    origin = f"{first['date']}, {first['machine']}, one thread, no GPU; {', '.join(loads)}{beside}."
    return "\n".join([*table(["what", "set against", "its CPU time / ours"], rows), "", origin])


def put_between_marks(page: Path, text: str) -> str:
    """The page's text with `text` where it was put before."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not (begin and end):
        raise SystemExit(f"{page}: has no {MARKS[0]} and {MARKS[1]}\n  fix: write them where the table is to stand")
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md and README.md")
    given = parser.parse_args()
    results = read_results()
    pages = {ROOT / "docs" / "benchmarks.md": make_tables(results), ROOT / "README.md": make_summary(results)}
    for page, text in pages.items():
        if given.write:
            page.write_text(put_between_marks(page, text), encoding="utf-8")
        else:
            print(text, end="\n\n")


if __name__ == "__main__":
    main()
