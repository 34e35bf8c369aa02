"""How the data stages grow with the number of pictures: fresh, again, and with one picture changed.

    python -m benchmarks.scaling [--sizes 10 100 1000 10000] [--processes 1 2] [--rounds 1]

prepare, caption and encode as `dvc repro` starts them, and the second door's data step (cache/datasets), on PNGs of
about 96 x 96 with captions. Of each size: all made anew; everything once more, where nothing is left to do; and once
more after one picture was changed. The last rows tell how time grows: 1.0 where it is proportional to the pictures once
the start, which is what the smallest size took, is taken off.
"""

import argparse
import math
import shutil
import sys
from pathlib import Path

from benchmarks.command import begin_result, make_parser, working_folder
from benchmarks.rounds import ROOT, Result, run_measured, spread
from benchmarks.workplace import make_workplace, run_stage

OTHERS = 10**9  # numbers of pictures that no size has
STAGES = ("prepare", "caption", "encode")
DOOR = "second door"
WHAT = ("fresh", "again", "one changed")
HEAD = ["pictures", "processes", "", *(f"{name}, CPU s" for name in (*STAGES, DOOR)), "all stages, s", "peak MiB"]
SETTINGS = ("prepare.dataset=many", "caption=none", "encode.device=cpu", "prepare.enlarged_above=100")


def make_second_door_data(overrides: list[str]) -> None:
    """What `python -m train` does before it trains, in a process of its own."""
    from lorakiln.runs import make_dataset
    from lorakiln.schema.whole_config import check_whole
    from pipelines.compose import compose_config

    make_dataset(check_whole(compose_config(overrides)))


def change_picture(folder: Path, turn: int) -> None:
    """Give the picture in the middle the content of none that is there."""
    files, other = sorted(folder.glob("*.png")), folder.parent / "other"
    command = [sys.executable, "-m", "benchmarks.pictures", "small", 1, other, "--first", OTHERS + turn]
    run_measured(command, ROOT, folder.parent / "other.log")
    shutil.copy(other / f"{OTHERS + turn}.png", files[len(files) // 2])


def measure_size(size: int, processes: int, number: int, work: Path, result: Result) -> None:
    """All of one size in one round."""
    raw = work / f"raw-{size}"
    pictures = raw / "many"
    run_measured([sys.executable, "-m", "benchmarks.pictures", "small", size, pictures], ROOT, work / "pictures.log")
    settings = (*SETTINGS, f"paths.raw={raw}", f"prepare.workers={processes}")
    shutil.rmtree(work / "place", ignore_errors=True)
    place = make_workplace(work / "place", *settings)
    door = [sys.executable, "-m", "benchmarks.scaling", "--second-door", *settings]
    for turn, what in enumerate(WHAT):
        if what == "one changed":
            change_picture(pictures, number * len(WHAT) + turn)
        labels = {"size": size, "processes": processes, "what": what, "round": number}
        for stage in STAGES:
            result.add(run_stage(place, stage), **labels, stage=stage)
        result.add(run_measured(door, place, work / "door.log"), **labels, stage=DOOR)


def find_growth(seconds: dict[int, float]) -> float | None:
    """The power of the number of pictures with which time grows between the two largest sizes, the start taken off.

    Args:
        seconds: by size; the smallest tells the start.
    """
    start, *more = sorted(seconds)
    if len(more) < 2:
        return None
    (one, two), begun = more[-2:], seconds[start]
    first, second = seconds[one] - begun, seconds[two] - begun
    if min(first, second) <= 0:
        return None
    return math.log(second / first) / math.log((two - start) / (one - start))


def make_rows(records: list[dict]) -> list[list[str]]:
    """The table's rows, and those of the growth."""
    found: dict[tuple, dict[str, list[dict]]] = {}
    for record in records:
        key = (record["size"], record["processes"], record["what"])
        found.setdefault(key, {}).setdefault(record["stage"], []).append(record)
    rows = []
    for (size, processes, what), by_stage in found.items():
        cpu = [spread([record["cpu"] for record in by_stage[stage]], 1) for stage in (*STAGES, DOOR)]
        walls = [
            sum(record["wall"] for record in one) for one in zip(*(by_stage[stage] for stage in STAGES), strict=True)
        ]
        peak = max(record["peak"] for one in by_stage.values() for record in one)
        rows.append([f"{size:,}", str(processes), what, *cpu, spread(walls, 1), f"{peak:.0f}"])
    for processes in sorted({record["processes"] for record in records}):
        cells = []
        for stage in (*STAGES, DOOR):
            seconds = {
                size: min(record["cpu"] for record in by_stage[stage])
                for (size, with_so_many, what), by_stage in found.items()
                if (with_so_many, what) == (processes, "fresh")
            }
            power = find_growth(seconds)
            cells.append("-" if power is None else f"{power:.2f}")
        rows.append(["growth", str(processes), "fresh", *cells, "", ""])
    return rows


def main() -> None:
    parser = make_parser(__doc__, "scaling", rounds=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 1000, 10_000], help="[10 100 1000 10000]")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="that prepare uses [1 2]")
    parser.add_argument("--second-door", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.second_door:
        make_second_door_data(given.second_door)
        return
    if min(given.sizes) < 2 or min(given.processes) < 1:
        parser.error("--sizes: at least 2 pictures; --processes: at least 1")
    result = begin_result(given, "scaling", {"processes": " and ".join(map(str, given.processes))}, HEAD)
    with working_folder(given) as work:
        for number in result.list_rounds(given.rounds):
            for size in sorted(set(given.sizes)):
                for processes in given.processes:
                    measure_size(size, processes, number, work, result)
    result.rows = make_rows(result.records)
    result.write(given.out)


if __name__ == "__main__":
    main()
