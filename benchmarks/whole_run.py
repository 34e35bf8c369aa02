"""What a whole run costs by both doors, by stage: fresh, again, and with one thing changed.

    python -m benchmarks.whole_run [--experiment demo_style] [--changes caption picture training evaluation]
                                   [--doors dvc train sweep] [--until STAGE] [--overrides ...]

In a copy of the checkout, `dvc repro` and `python -m train` run fresh, once more with nothing changed, and after each
change: a caption, a picture, a setting of the training (train.max_grad_norm), one of the evaluation
(evaluate.guidance). The sweep is of four: two ranks and two rates. In the row "nothing to do" every stage was started
once more when all that it makes was there: its imports, its loading and its hashing. DVC's own share has a column.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.command import begin_result, make_parser, working_folder
from benchmarks.rounds import ROOT, Cost, Result, run_measured, spread

STAGES = ("compose", "prepare", "caption", "encode", "train", "choose", "export", "evaluate")
REST = "the rest"
HEAD = ["door", "", "CPU s", "s", "peak MiB", *STAGES, REST]
CHANGES = ("caption", "picture", "training", "evaluation")
SETTINGS = {"training": "train.max_grad_norm=0.9", "evaluation": "evaluate.guidance=4.5"}
SWEEP_DOOR = "python -m train -m"
SWEEP = ("train.adapter.rank=4,8", "train.optimizer.lr=1e-3,5e-4")
LEFT_OUT = ("dvc.lock", "outputs/resolved.yaml")
COSTS = "STAGE_COSTS"  # in a stage's environment: the file that takes what it cost


def copy_checkout(folder: Path) -> Path:
    """The files that git knows or would take, in a repository of their own; DVC wants one."""
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and name not in LEFT_OUT:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    me = ["-c", "user.name=benchmark", "-c", "user.email=benchmark@localhost"]
    for words in (["init", "-q"], ["add", "-A"], [*me, "commit", "-qm", "as it is"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


class Checkout:
    """A copy in which both doors run one experiment."""

    def __init__(self, work: Path, experiment: str, overrides: list[str]) -> None:
        self.work, self.experiment, self.overrides = work, experiment, list(overrides)
        self.folder = copy_checkout(work / "checkout")
        self.costs = work / "stages.jsonl"
        # First in PATH, where DVC's stages find it.
        self.programs = work / "programs"
        self.programs.mkdir()
        starter = self.programs / "python"
        words = shlex.join([sys.executable, str(ROOT / "benchmarks" / "stage_costs.py")])
        starter.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        starter.chmod(0o755)

    def run(self, *command: str | Path) -> tuple[Cost, dict[str, float]]:
        """Run a command; what it cost, and the CPU seconds of the stages in it."""
        self.costs.write_text("")
        environment = {
            "PATH": os.pathsep.join([str(self.programs), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(self.folder / "src"), str(self.folder)]),
            COSTS: str(self.costs),
        }
        cost = run_measured(command, self.folder, self.work / "run.log", environment)
        stages: dict[str, float] = {}
        for line in self.costs.read_text().splitlines():
            stage_cost = json.loads(line)
            stages[stage_cost["stage"]] = stages.get(stage_cost["stage"], 0.0) + stage_cost["cpu"]
        return cost, stages

    def run_dvc(self, until: str) -> tuple[Cost, dict[str, float]]:
        params = {"experiment": self.experiment, "dataset": "", "overrides": self.overrides}
        (self.folder / "params.yaml").write_text(json.dumps(params), encoding="utf-8")  # which YAML holds
        return self.run(Path(sys.executable).parent / "dvc", "repro", until)

    def run_train(self, *more: str) -> tuple[Cost, dict[str, float]]:
        probe = self.programs / "python"
        return self.run(probe, "-m", "train", f"+experiment={self.experiment}", *self.overrides, *more)

    def change(self, what: str, number: int) -> None:
        """Change one thing, to what it was in no earlier round."""
        pictures = self.folder / "data" / "raw" / self.dataset
        files = sorted(path for path in pictures.iterdir() if path.suffix == ".png")
        if what == "caption":
            files[0].with_suffix(".txt").write_text(f"a thing, number {number}\n", encoding="utf-8")
        elif what == "picture":
            from PIL import Image

            with Image.open(files[1]) as picture:
                turned = picture.convert("RGB").rotate(90)
            turned.putpixel((0, 0), (number, 0, 0))
            turned.save(files[1])
        else:
            name, _, value = SETTINGS[what].partition("=")
            kept = [override for override in self.overrides if not override.startswith(f"{name}=")]
            self.overrides = [*kept, f"{name}={float(value) + number / 1000}"]

    @property
    def dataset(self) -> str:
        import yaml

        experiment = yaml.safe_load((self.folder / "conf" / "experiment" / f"{self.experiment}.yaml").read_text())
        return experiment["prepare"]["dataset"]


def measure_round(given: argparse.Namespace, work: Path, number: int, result: Result) -> None:
    checkout = Checkout(work, given.experiment, given.overrides)

    def add(door: str, what: str, found: tuple[Cost, dict[str, float]]) -> None:
        cost, stages = found
        result.add(cost, door=door, what=what, round=number)
        result.records[-1]["stages"] = {name: round(seconds, 3) for name, seconds in stages.items()}

    if "dvc" in given.doors:
        add("dvc repro", "fresh", checkout.run_dvc(given.until))
        add("dvc repro", "again", checkout.run_dvc(given.until))
        costs, taken = [], {}
        for stage in STAGES[: STAGES.index(given.until) + 1]:
            cost, _ = checkout.run(sys.executable, "-m", f"pipelines.{stage}")
            costs.append(cost)
            taken[stage] = cost.cpu
        total = Cost(
            sum(cost.wall for cost in costs),
            sum(taken.values()),
            max(cost.peak for cost in costs),
            max(cost.others for cost in costs),
        )
        add("each stage by hand", "nothing to do", (total, taken))
    if "train" in given.doors:
        add("python -m train", "fresh", checkout.run_train())
        add("python -m train", "again", checkout.run_train())
    for turn, what in enumerate(given.changes):
        checkout.change(what, 1 + turn + number * len(CHANGES))
        if "dvc" in given.doors:
            add("dvc repro", f"another {what}", checkout.run_dvc(given.until))
        if "train" in given.doors:
            add("python -m train", f"another {what}", checkout.run_train())
    if "sweep" in given.doors:
        add(SWEEP_DOOR, "a sweep of four", checkout.run_train(*SWEEP, "-m"))


def make_rows(records: list[dict]) -> list[list[str]]:
    found: dict[tuple[str, str], list[dict]] = {}
    for record in records:
        found.setdefault((record["door"], record["what"]), []).append(record)
    rows = []
    for (door, what), rounds in found.items():
        stages = [
            spread([record["stages"][stage] for record in rounds if stage in record["stages"]], 1) for stage in STAGES
        ]
        # A sweep's jobs are processes of their own, whose stages nobody watches.
        watched = [record for record in rounds if record["door"] != SWEEP_DOOR]
        rest = [record["cpu"] - sum(record["stages"].values()) for record in watched]
        totals = [
            spread([record[name] for record in rounds], digits)
            for name, digits in (("cpu", 1), ("wall", 1), ("peak", 0))
        ]
        rows.append([door, what, *totals, *stages, spread(rest, 1)])
    return rows


def main() -> None:
    parser = make_parser(__doc__, "whole_run", rounds=1)
    parser.add_argument("--experiment", default="demo_style", help="[demo_style]")
    parser.add_argument("--changes", nargs="*", choices=CHANGES, default=list(CHANGES), help="[all]")
    parser.add_argument("--doors", nargs="+", choices=("dvc", "train", "sweep"), default=["dvc", "train", "sweep"])
    parser.add_argument("--until", choices=STAGES, default=STAGES[-1], help="the last stage of `dvc repro` [evaluate]")
    parser.add_argument("--overrides", nargs="+", default=[], help="of the config, beside the experiment")
    given = parser.parse_args()
    settings = {"experiment": given.experiment}
    if given.until != STAGES[-1]:
        settings["until"] = given.until
    if given.overrides:
        settings["with"] = " ".join(given.overrides)
    result = begin_result(given, "whole_run", settings, HEAD)
    for number in result.list_rounds(given.rounds):
        with working_folder(given) as parent:
            work = parent / str(number)
            work.mkdir()
            measure_round(given, work, number, result)
    result.rows = make_rows(result.records)
    result.write(given.out)


if __name__ == "__main__":
    main()
