"""Stands in the place of `python` for the commands that `whole_run` starts: runs them, and says what each stage cost.

    python benchmarks/stage_costs.py -m pipelines.prepare

Of `-m pipelines.<stage>`, as DVC starts it, the whole process counts: imports too. `-m train` runs its stages in one
process; there each stage's function counts, and its imports as far as it makes them. Everything else runs as it is. The
file that $STAGE_COSTS names gets a line of JSON a stage: stage, cpu (seconds).
"""

import json
import os
import resource
import runpy
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

OF_DVC = "pipelines."


def tell(stage: str, cpu: float) -> None:
    # One short line at once: jobs of a sweep write to the same file.
    with Path(os.environ["STAGE_COSTS"]).open("a") as file:
        file.write(json.dumps({"stage": stage, "cpu": cpu}) + "\n")


def read_cpu() -> float:
    """Of this process and of the children that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def run_stage(stage: str, words: list[str]) -> int:
    """A stage in a process of its own."""
    before = read_cpu()
    status = subprocess.run([sys.executable, *words], check=False).returncode
    tell(stage, read_cpu() - before)
    return status


def run_train(words: list[str]) -> None:
    """The second door, each stage's function watched."""
    from lorakiln.chain import Stage

    plain = Stage.run

    def run(self: Stage, *given: Any) -> None:
        before = read_cpu()
        try:
            plain(self, *given)
        finally:
            tell(self.name, read_cpu() - before)

    Stage.run = run  # type: ignore[method-assign]
    sys.argv = ["train", *words]
    runpy.run_module("train", run_name="__main__", alter_sys=True)


def main() -> int:
    words = sys.argv[1:]
    # The first entry is this file's folder; what is run expects its own.
    sys.path[0] = os.getcwd()
    if words[:1] == ["-m"] and words[1].startswith(OF_DVC):
        return run_stage(words[1].removeprefix(OF_DVC), words)
    if words[:2] == ["-m", "train"]:
        run_train(words[2:])
        return 0
    os.execv(sys.executable, [sys.executable, *words])


if __name__ == "__main__":
    sys.exit(main())
