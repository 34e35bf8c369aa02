"""Ctrl-C and SIGTERM outside of training: one line, and the status that docs/training.md tells."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
ARGUMENTS = (
    "+experiment=smoke", "caption=none", "hydra.run.dir=run", "paths.cache=cache", f"paths.raw={ROOT / 'data/raw'}",
    f"model.path={ROOT / 'models/tiny/sd'}", f"model.clip.path={ROOT / 'models/tiny/clip'}", "prepare.workers=1",
    "train/tracker=none",
)  # fmt: skip


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize(
    ("place", "count"),
    [("lorakiln.prepare.stage:in_order", 1), ("lorakiln.runs:encode", 1), ("lorakiln.runs:evaluate", 1)],
)
def test_in_a_stage(programs, tmp_path, place, count, number):
    job = programs.start(
        "train", tmp_path, ARGUMENTS, pause=place, count=count, skip=("lorakiln.runs:train", "lorakiln.runs:export")
    )
    status, printed = job.kill_when_paused(number)
    assert status == STATUS[number], printed
    assert "Traceback" not in printed
    assert printed.splitlines()[-1].startswith(f"interrupted by {number.name}")


def test_a_report_goes_on_in_a_folder_of_another_name(programs, tmp_path):
    arguments = [one for one in ARGUMENTS if not one.startswith("hydra.run.dir")]
    place = "lorakiln.evaluate.drawing:save_picture"
    job = programs.start("train", tmp_path, (*arguments, "hydra.run.dir=runs/smoke/1"), pause=place, count=6)
    status, printed = job.kill_when_paused(signal.SIGTERM)
    assert status == 143, printed
    status, printed = programs.start("train", tmp_path, (*arguments, "hydra.run.dir=runs/smoke/2")).wait()
    assert status == 0, printed
    drawn, there = map(int, re.search(r"evaluate: (\d+) pictures drawn, (\d+) already there", printed).groups())
    rows = (tmp_path / "runs/smoke/2/report/samples/metadata.jsonl").read_text().splitlines()
    assert there == 5 and drawn == len(rows) - 5
    assert not list((tmp_path / "runs/smoke/2").glob(".*.kept"))


@pytest.mark.parametrize(
    ("program", "module", "number"),
    [
        ("train", "omegaconf", signal.SIGINT),
        ("train", "torch._C", signal.SIGTERM),
        ("pipelines.compose", "omegaconf", signal.SIGINT),
        ("pipelines.train", "torch._C", signal.SIGINT),
        ("pipelines.encode", "torch._C", signal.SIGTERM),
    ],
)
def test_while_libraries_are_imported(tmp_path, program, module, number):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-X", "importtime", "-m", program, *(ARGUMENTS if program == "train" else ())]
    # Of compose: a config that can be read.
    (tmp_path / "conf").symlink_to(ROOT / "conf")
    (tmp_path / "params.yaml").write_text("experiment: smoke\n")
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        for line in process.stderr:
            if line.split("|")[-1].strip().startswith(module):
                process.send_signal(number)
                break
        said = [line for line in process.stderr if not line.startswith("import time:")]
    assert process.returncode == STATUS[number]
    assert len(said) == 1 and said[0].startswith(f"interrupted by {number.name}"), said


def test_a_program_that_does_not_end_is_ended(tmp_path):
    """Python drops exceptions in finalizers; and a second signal waits for nothing."""
    program = tmp_path / "stubborn.py"
    program.write_text(
        "import sys, time\nfrom lorakiln.console.ending import end_by_signals\nend_by_signals(float(sys.argv[1]))\n"
        "while True:\n    try:\n        print('ready', flush=True)\n        time.sleep(60)\n"
        "    except SystemExit:\n        print('lost', flush=True)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    for patience, again in (("0.2", False), ("60", True)):
        with subprocess.Popen(
            [sys.executable, str(program), patience], env=environment, stdout=subprocess.PIPE, text=True
        ) as process:
            process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            assert process.stdout.readline() == "lost\n"
            if again:
                process.stdout.readline()
                process.send_signal(signal.SIGINT)
            assert process.wait(20) == (130 if again else 143)
