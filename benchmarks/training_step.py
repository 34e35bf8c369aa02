"""What a training step costs: LoRAKiln as users start it, the bare loop, and other programs where they are given.

    python -m benchmarks.training_step [--sd-scripts DIR] [--diffusers DIR] [--rounds 5] [--steps 40 240]

All train the same LoRA (rank 16 on the attention; the weights in each one's file are counted) of the same base, from
the same pictures and captions, with batch, rate and seed alike, on one thread, in fp32. LoRAKiln is the train stage as
`dvc repro` starts it; the bare loop is bare_loop.py. Each program runs from start to end with few steps and with many:
the difference is what the steps cost, and what the short run took beyond its steps is the start (and the end: the file
is written). Programs take turns, and ratios are made within a round. CPU seconds stand first, since other work on the
machine disturbs them least.
"""

import argparse
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.command import begin_result, check_short_and_long, make_parser, working_folder
from benchmarks.peers import Program, Started, count_weights, describe_checkout, use_diffusers, use_sd_scripts
from benchmarks.rounds import (
    ROOT,
    Costs,
    Result,
    collect_costs,
    compare_rounds,
    divide_work,
    measure_pairs,
    run_measured,
    spread,
    tell_ratios,
)
from benchmarks.workplace import make_workplace, run_stage

MODEL = ROOT / "models" / "tiny" / "sd"
OURS, BARE = "LoRAKiln", "bare loop"
HEAD = [
    "program",
    "CPU ms a step",
    f"{BARE} / it",
    "steps/s",
    f"it / {BARE}",
    "start and end, CPU s",
    "wall s",
    "peak MiB",
    "weights trained",
]
BATCH = 4
SETTINGS = (
    "prepare.dataset=demo_style",
    "prepare.bucket.enable=false",
    "caption=none",
    "caption.trigger=outline style",
    "encode.device=cpu",
    f"train.batch_size={BATCH}",
    "train.adapter.rank=16",
    "train.adapter.targets=attention",
    "train.optimizer.lr=1e-4",
    "train/trainer=cpu",
    "train.trainer.threads=1",
    "train/tracker=none",
    # What the others have not: nothing is held out, drawn or saved on the way.
    "train.validation.every=0",
    "train.validation.fraction=0",
    "train.samples.every=0",
    "train.checkpoint_every=0",
    "train.checkpoint_minutes=0",
)


def use_ours(folder: Path) -> Program:
    """The train stage, on what the stages before it have made there."""
    import yaml

    resolved = folder / "outputs" / "resolved.yaml"

    def start(steps: int, seed: int) -> Started:
        # Else it would go on from an earlier round's checkpoint.
        for name in ("cache", "outputs/run"):
            shutil.rmtree(folder / name, ignore_errors=True)
        settings = yaml.safe_load(resolved.read_text(encoding="utf-8"))
        settings["train"] |= {"steps": steps, "seed": seed}
        resolved.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return Started([sys.executable, "-m", "pipelines.train"], folder / "outputs" / "run" / "adapters")

    return start


def use_bare_loop(folder: Path) -> Program:
    def start(steps: int, seed: int) -> Started:
        (encoded,) = (folder / "outputs" / "encoded").glob("[0-9]*.safetensors")
        out = folder / "bare"
        words = [str(MODEL), str(encoded), str(out), f"--steps={steps}", f"--seed={seed}"]
        return Started([sys.executable, "-m", "benchmarks.bare_loop", *words], out)

    return start


def make_rows(short: Costs, long: Costs, steps: tuple[int, int], weights: Mapping[str, int]) -> list[list[str]]:
    """The table's rows, in the order of `short`.

    Args:
        short, long: the costs of the runs with few and with many steps.
        steps: how many those are.
        weights: in each program's file.
    """
    cpu, wall = (divide_work(short, long, steps, of) for of in ("cpu", "wall"))
    rows = []
    for name, runs in short.items():
        begun = [
            (cost.cpu - steps[0] * cpu[name][one], cost.wall - steps[0] * wall[name][one]) for one, cost in runs.items()
        ]
        rows.append(
            [
                name,
                spread([1000 * seconds for seconds in cpu[name].values()], 1),
                spread(compare_rounds(cpu[name], cpu[BARE])),
                spread([1 / seconds for seconds in wall[name].values() if seconds > 0], 1),
                spread(compare_rounds(wall[name], wall[BARE])),
                spread([cpu_seconds for cpu_seconds, _ in begun], 1),
                spread([seconds for _, seconds in begun], 1),
                spread([cost.peak for cost in long[name].values()], 0),
                f"{weights[name]:,}",
            ]
        )
    return rows


def main() -> None:
    parser = make_parser(__doc__, "training_step")
    parser.add_argument("--steps", type=int, nargs=2, default=(40, 240), help="of the short and the long run [40 240]")
    parser.add_argument("--sd-scripts", type=Path, metavar="DIR", help="a checkout of sd-scripts")
    parser.add_argument("--sd-scripts-python", type=Path, help="to run it with [DIR/venv/bin/python]")
    parser.add_argument("--diffusers", type=Path, metavar="DIR", help="a checkout of diffusers")
    parser.add_argument("--diffusers-python", type=Path, help="to run it with; has torchvision and datasets [this one]")
    given = parser.parse_args()
    check_short_and_long(parser, "--steps", given.steps)
    few, many = given.steps
    with working_folder(given) as work:
        measure(given, work, few, many).write(given.out)


def measure(given: argparse.Namespace, work: Path, few: int, many: int) -> Result:
    folder = make_workplace(work / "ours", *SETTINGS)
    for stage in ("prepare", "caption", "encode"):
        run_stage(folder, stage)
    captioned = folder / "outputs" / "captioned"
    programs = {OURS: use_ours(folder), BARE: use_bare_loop(folder)}
    versions = {}
    for name, code, python, use in (
        ("sd-scripts", given.sd_scripts, given.sd_scripts_python, use_sd_scripts),
        ("diffusers' script", given.diffusers, given.diffusers_python, use_diffusers),
    ):
        if code:
            place = work / name.split("'")[0]
            place.mkdir(parents=True, exist_ok=True)
            programs[name] = use(code, python, MODEL, captioned, place, BATCH)
            versions[name] = describe_checkout(code)
    settings = {"steps": f"{few} and {many}", "batch": BATCH, "threads": 1}
    result = begin_result(given, "training_step", settings, HEAD, versions)

    def run(name: str, steps: int, number: int) -> None:
        started = programs[name](steps, number)
        shutil.rmtree(started.folder, ignore_errors=True)
        cost = run_measured(started.command, folder, work / f"{name}-{steps}.log")
        (lora,) = started.folder.glob("*.safetensors")
        result.add(cost, program=name, round=number, steps=steps, weights=count_weights(lora))

    measure_pairs(list(programs), result.list_rounds(given.rounds), (few, many), run)
    weights = {record["program"]: record["weights"] for record in result.records}
    if len(set(weights.values())) > 1:
        sys.exit(f"they have not trained the same: {weights}")
    short, long = (collect_costs(result.records, steps=steps) for steps in (few, many))
    result.rows = make_rows(short, long, (few, many), weights)
    cpu = divide_work(short, long, (few, many), "cpu")
    result.facts = {"CPU time of a step, theirs / ours": tell_ratios(cpu, OURS), "weights": weights}
    return result


if __name__ == "__main__":
    main()
