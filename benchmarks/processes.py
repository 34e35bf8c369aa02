"""How much faster two processes train than one: gloo on two cores against one on one.

    python -m benchmarks.processes [--steps 10 50] [--batch 8] [--rounds 5] [--overrides ...]

Both train the same global batch for the same steps on the embedded model, each process with one thread, in turns. Walls
are what matters here, so that it needs two idle cores: 2 would be perfect. What two take of CPU time more than one is
what they tell each other.
"""

import argparse
import shutil
import sys
from pathlib import Path

from benchmarks.command import begin_result, check_short_and_long, make_parser, working_folder
from benchmarks.one_run import PLAIN
from benchmarks.rounds import (
    Result,
    collect_costs,
    compare_rounds,
    divide_work,
    measure_pairs,
    run_measured,
    spread,
)
from benchmarks.training_step import SETTINGS
from benchmarks.workplace import make_workplace, run_stage

ONE, TWO = "one process", "two processes"
DEVICES = {ONE: 1, TWO: 2}
HEAD = ["", "steps/s", f"it / {ONE}", "CPU ms a step", "peak MiB of each"]


def measure(given: argparse.Namespace, work: Path) -> Result:
    few, many = given.steps
    place = make_workplace(work / "data", *SETTINGS)
    for stage in ("prepare", "caption", "encode"):
        run_stage(place, stage)
    settings = {"steps": f"{few} and {many}", "batch": given.batch}
    if given.overrides:
        settings["with"] = " ".join(given.overrides)
    result = begin_result(given, "processes", settings, HEAD)

    def run(name: str, steps: int, number: int) -> None:
        folder = work / "run"
        shutil.rmtree(folder, ignore_errors=True)
        words = [
            f"paths.encoded={place / 'outputs' / 'encoded'}",
            "train.trainer.accelerator=cpu",
            f"train.trainer.devices={DEVICES[name]}",
            f"train.steps={steps}",
            f"train.batch_size={given.batch}",
            f"train.tracker.log_every={steps}",
            *given.overrides,
        ]
        command = [sys.executable, "-m", "benchmarks.one_run", folder, *PLAIN, *words]
        result.add(run_measured(command, place, work / "run.log"), program=name, round=number, steps=steps)

    measure_pairs(list(DEVICES), result.list_rounds(given.rounds), (few, many), run)
    short, long = (collect_costs(result.records, steps=steps) for steps in (few, many))
    cpu, wall = (divide_work(short, long, (few, many), of) for of in ("cpu", "wall"))
    for name in DEVICES:
        result.rows.append(
            [
                name,
                spread([1 / seconds for seconds in wall[name].values() if seconds > 0]),
                spread(compare_rounds(wall[name], wall[ONE])),
                spread([1000 * seconds for seconds in cpu[name].values()], 0),
                spread([cost.peak for cost in long[name].values()], 0),
            ]
        )
    return result


def main() -> None:
    parser = make_parser(__doc__, "processes")
    parser.add_argument("--steps", type=int, nargs=2, default=(10, 50), help="of the short and the long run [10 50]")
    parser.add_argument("--batch", type=int, default=8, help="over all processes [8]")
    parser.add_argument("--overrides", nargs="+", default=[], help="more of the config's settings")
    given = parser.parse_args()
    check_short_and_long(parser, "--steps", given.steps)
    with working_folder(given) as work:
        measure(given, work).write(given.out)


if __name__ == "__main__":
    main()
