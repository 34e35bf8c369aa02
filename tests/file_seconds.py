"""What each file of tests takes: pytest's workers begin with the longest, so that they end together.

Recorded in seconds.txt, for files that take long, by `make test` with `--write-seconds`. It is their budget, too: a
file that took far more is told of below the tests. Nothing fails by it, for other work on a machine takes time as well;
a single test ends after its `timeout`.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

SECONDS = Path(__file__).with_name("seconds.txt")
LONG = 10.0  # what takes less is not recorded
OVER, SLACK = 2.0, 20.0  # a budget is so many times what is recorded, and so many seconds more


def read_seconds(path: Path) -> dict[str, float]:
    """By the file's path from the project's root."""
    lines = (line.split() for line in path.read_text().splitlines() if not line.startswith("#"))
    return {file: float(seconds) for seconds, file in lines}


def write_seconds(taken: Mapping[str, float], path: Path) -> None:
    long = sorted(((seconds, file) for file, seconds in taken.items() if seconds >= LONG), reverse=True)
    head = "# Seconds of one core, by file; written by `--write-seconds`, see file_seconds.py.\n"
    path.write_text(head + "".join(f"{seconds:.0f} {file}\n" for seconds, file in long))


def list_over(taken: Mapping[str, float], known: Mapping[str, float]) -> list[str]:
    """A line for each file that took more than its budget."""
    return [
        f"{file}: {seconds:.0f} s, where {known.get(file, LONG):.0f} s are usual"
        for file, seconds in sorted(taken.items(), key=lambda one: -one[1])
        if seconds > OVER * known.get(file, LONG) + SLACK
    ]


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def pytest_addoption(parser):
    parser.addoption("--write-seconds", action="store_true", help="record what each file of tests takes")


def pytest_configure(config):
    if not hasattr(config, "workerinput"):  # which xdist's workers have
        config.pluginmanager.register(FileSeconds(config.getoption("--write-seconds")))


def pytest_collection_modifyitems(config, items):
    if hasattr(config, "workerinput"):
        known = read_seconds(SECONDS)
        items.sort(key=lambda item: -known.get(file_of(item.nodeid), 0.0))


class FileSeconds:
    """Adds up what the tests take.

    Attributes:
        taken: seconds by file.
    """

    def __init__(self, write: bool) -> None:
        self.write, self.taken = write, Counter()

    def pytest_runtest_logreport(self, report):
        self.taken[file_of(report.nodeid)] += report.duration

    def pytest_terminal_summary(self, terminalreporter):
        for line in list_over(self.taken, read_seconds(SECONDS)):
            terminalreporter.write_line(f"slower than usual: {line}")
        if self.write:
            write_seconds(self.taken, SECONDS)
