"""What the benchmarks' command lines have in common: rounds, a folder to work in, a file of results."""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.rounds import RESULTS, ROOT, Result


def read_count(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)


def make_parser(doc: str, name: str, rounds: int = 5) -> argparse.ArgumentParser:
    """With what every benchmark takes: rounds, a folder to work in, a file for the results."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument(
        "--rounds", type=read_count, default=rounds, help=f"each measures every program once [{rounds}]"
    )
    parser.add_argument("--more", action="store_true", help="add these rounds to those that the results hold")
    place = RESULTS / f"{name}.json"
    parser.add_argument("--out", type=Path, default=place, help=f"of the results [{place.relative_to(ROOT)}]")
    parser.add_argument("--work", type=Path, help="a folder for what is made on the way; kept [a temporary one]")
    return parser


def check_short_and_long(parser: argparse.ArgumentParser, option: str, counts: Sequence[int]) -> None:
    """End with a usage error where the long run is no longer than the short one, or the short one is of nothing."""
    if not 0 < counts[0] < counts[1]:
        parser.error(f"{option}: the second must be more than the first")


@contextmanager
def working_folder(given: argparse.Namespace) -> Iterator[Path]:
    """The folder that --work names, which is kept; else one that goes afterwards."""
    if given.work:
        given.work.mkdir(parents=True, exist_ok=True)
        yield given.work.resolve()
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder).resolve()


def begin_result(
    given: argparse.Namespace,
    name: str,
    settings: dict[str, Any],
    head: list[str],
    versions: dict[str, str] | None = None,
) -> Result:
    """A benchmark's result, with --more the earlier measurements in it; see `Result`.

    Raises:
        SystemExit: see `Result.read_earlier`.
    """
    result = Result(name, settings, head, versions=versions or {})
    if given.more:
        result.read_earlier(given.out)
    return result
