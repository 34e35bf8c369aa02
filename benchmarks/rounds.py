"""What the benchmarks share: programs measured in interleaved rounds, the load told, a table, a file of results.

Only the standard library is imported here, and by what drives the programs: a program begins with the peak of memory of
the process that started it, which is to be far below its own.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
LIBRARIES = ("torch", "lightning", "diffusers", "transformers", "peft", "pillow", "dvc")
# One thread, no network, no GPU, nothing sent: what differs between programs is their own work.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_MODE": "offline",
    "DVC_NO_ANALYTICS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}
BUSY = (0, 1, 2, 5, 6, 7)  # of /proc/stat's columns: user, nice, system, irq, softirq, steal
SPOILED = 0.1  # of the cores: if others take more, walls say little


@dataclass(frozen=True)
class Cost:
    """What a program took, its children included.

    Attributes:
        wall: seconds.
        cpu: seconds of all cores.
        peak: the most memory that its largest process held, MiB; shared libraries count in each process.
        others: cores that all other programs of the machine used meanwhile, on average.
    """

    wall: float
    cpu: float
    peak: float
    others: float

    def __sub__(self, other: "Cost") -> "Cost":
        """What a longer run of the same program took more; the peak is the longer one's."""
        return Cost(self.wall - other.wall, self.cpu - other.cpu, self.peak, self.others)


def run_measured(command: Sequence[str | Path], folder: Path, log: Path, more: Mapping[str, str] | None = None) -> Cost:
    """Run a program to its end.

    Args:
        folder: in which it runs.
        log: takes what it prints.
        more: of the environment, beside ENVIRONMENT; PYTHONPATH is this checkout's if it is not among them.

    Raises:
        SystemExit: it failed; with the end of what it printed.
    """
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", **(more or {})}
    busy, began = read_busy_seconds(), time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
        _, status, usage = os.wait4(process.pid, 0)
    wall, busy = time.perf_counter() - began, read_busy_seconds() - busy
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        output = log.read_text(encoding="utf-8", errors="replace")[-3000:]
        sys.exit(f"{output}\n{' '.join(map(str, command))}: ended with {process.returncode}")
    cpu = usage.ru_utime + usage.ru_stime
    return Cost(wall, cpu, usage.ru_maxrss / 1024, max(0.0, busy - cpu) / wall)


def read_busy_seconds(stat: Path = Path("/proc/stat")) -> float:
    """Seconds that all cores together have worked since the machine started."""
    columns = stat.read_text().split("\n", 1)[0].split()[1:]
    return sum(int(columns[number]) for number in BUSY) / os.sysconf("SC_CLK_TCK")


def interleave(names: Sequence[str], rounds: Iterable[int]) -> Iterator[tuple[int, str]]:
    """Every name in every round; each round begins with another, so that none always follows the same one."""
    for number in rounds:
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            yield number, name


# By program and round.
Costs = Mapping[str, Mapping[int, Cost]]


def measure_pairs(
    programs: Sequence[str], rounds: Iterable[int], counts: tuple[int, int], run: Callable[[str, int, int], object]
) -> None:
    """Run each program with little and with much to do in every round: the difference is what the work costs.

    Args:
        rounds: their numbers.
        counts: how many steps or pictures are few, and how many are many.
        run: runs a program with so many, in the round of that number, and records what it cost.
    """
    for number, name in interleave(programs, rounds):
        # In every other round much comes first.
        for count in counts[:: -1 if number % 2 else 1]:
            run(name, count, number)


def collect_costs(records: Iterable[Mapping[str, Any]], **of: Any) -> dict[str, dict[int, Cost]]:
    """Recorded costs by program and round, of the records that have these values."""
    found: dict[str, dict[int, Cost]] = {}
    for record in records:
        if all(record[name] == value for name, value in of.items()):
            cost = Cost(*(record[part.name] for part in fields(Cost)))
            found.setdefault(record["program"], {})[record["round"]] = cost
    return found


def divide_work(short: Costs, long: Costs, counts: tuple[int, int], of: str) -> dict[str, dict[int, float]]:
    """Seconds that each step, or picture, took beyond the start, by program and round.

    Args:
        of: "cpu" or "wall".
    """
    more = counts[1] - counts[0]
    return {
        name: {one: getattr(long[name][one] - cost, of) / more for one, cost in costs.items()}
        for name, costs in short.items()
    }


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median, and the least and the most: "1.10 (0.95 to 1.31)"; "-" of nothing."""
    if not values:
        return "-"
    low, high = min(values), max(values)
    return f"{statistics.median(values):.{digits}f}" + (
        f" ({low:.{digits}f} to {high:.{digits}f})" if len(values) > 1 else ""
    )


def compare_rounds(mine: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """theirs / mine of each round that both have, both above 0: how many times mine is better, where less is better."""
    both = sorted(set(mine) & set(theirs))
    return [theirs[one] / mine[one] for one in both if mine[one] > 0 and theirs[one] > 0]


def tell_ratios(seconds: Mapping[str, Mapping[int, float]], ours: str) -> dict[str, str]:
    """How many times what `ours` takes each other program takes."""
    return {name: spread(compare_rounds(seconds[ours], taken)) for name, taken in seconds.items() if name != ours}


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table in Markdown."""
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


@dataclass
class Result:
    """What a benchmark found, as it is kept.

    Attributes:
        name: the benchmark's module.
        settings: what was measured, and how often.
        head, rows: the table that is shown.
        records: every measurement, with what it was of.
        facts: what else is told, by name, such as a ratio that README shows.
        versions: of libraries and of the programs compared with.
    """

    name: str
    settings: dict[str, Any]
    head: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def list_rounds(self, more: int) -> range:
        """The numbers of so many rounds after those that are recorded."""
        first = max((record["round"] for record in self.records), default=-1) + 1
        return range(first, first + more)

    def read_earlier(self, path: Path) -> None:
        """Begin with the measurements that a file holds of the same settings.

        Raises:
            SystemExit: it was measured with others, or is not there.
        """
        if not path.exists():
            sys.exit(f"{path}: not there\n  fix: measure once without --more")
        kept = json.loads(path.read_text(encoding="utf-8"))
        given = json.loads(
            json.dumps({"benchmark": self.name, "settings": self.settings, "machine": describe_machine()})
        )
        if changed := {name: kept[name] for name, value in given.items() if kept[name] != value}:
            sys.exit(f"{path}: measured with other settings: {changed}\n  fix: give the same, or another --out")
        self.records = kept["records"]

    def add(self, cost: Cost, **what: Any) -> None:
        """Record a measurement, and say it on stderr."""
        numbers = {name: round(value, 3) for name, value in asdict(cost).items()}
        self.records.append({**what, **numbers})
        label = ", ".join(map(str, what.values()))
        text = f"{label}: {cost.cpu:.1f} CPU s, {cost.wall:.1f} s, {cost.peak:.0f} MiB"
        print(f"{text} ({cost.others:.1f} cores at other work)", file=sys.stderr, flush=True)

    def tell_load(self) -> str:
        """What else the machine did, and what that means for the numbers."""
        others, cores = [record["others"] for record in self.records], os.cpu_count() or 1
        text = f"Other programs used {spread(others, 1)} of {cores} cores meanwhile."
        if others and statistics.median(others) > SPOILED * cores:
            text += " Warning: that spoils the walls; CPU seconds too, where programs share a cache."
        return text

    def write(self, path: Path) -> None:
        """Print the table, and keep it with all measurements, as JSON."""
        data = {
            "benchmark": self.name,
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": describe_machine(),
            "versions": find_versions() | self.versions,
            "settings": self.settings,
            "rounds": self.list_rounds(0).start,
            "load": self.tell_load(),
            "head": self.head,
            "rows": self.rows,
            "facts": self.facts,
            "records": self.records,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(format_result(data))


def format_result(kept: Mapping[str, Any]) -> str:
    """A kept result: what it was measured on, and its table, in Markdown."""
    versions = ", ".join(f"{name} {number}" for name, number in kept["versions"].items())
    settings = ", ".join(f"{name} {value}" for name, value in {"rounds": kept["rounds"], **kept["settings"]}.items())
    origin = f"{kept['date']}; {kept['machine']}; {versions}; {settings}. {kept['load']}"
    facts = [f"{name}: {value}." for name, value in kept["facts"].items() if isinstance(value, (int, float, str))]
    return "\n".join([" ".join([origin, *facts]), "", *table(kept["head"], kept["rows"])])


def describe_machine() -> str:
    """In words that name no machine: cores, their kind, memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB"


def find_versions() -> dict[str, str]:
    """Of Python and of the libraries that are here."""
    found = {"Python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
