"""Ctrl-C and SIGTERM outside of training: one line, and the status that docs/training.md tells."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.faults.conftest import ROOT, STAGES, run_all

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
ARGUMENTS = (
    "+experiment=smoke",
    "caption=none",
    "hydra.run.dir=run",
    "paths.cache=cache",
    f"paths.raw={ROOT / 'data/raw'}",
    f"model.path={ROOT / 'models/tiny/sd'}",
    f"model.clip.path={ROOT / 'models/tiny/clip'}",
    "prepare.workers=1",
    "train/tracker=none",
)


@pytest.mark.parametrize("number", STATUS)
@pytest.mark.parametrize(
    ("place", "count"),
    [("lorakiln.prepare.stage:map_in_order", 1), ("lorakiln.encode:encode", 1), ("lorakiln.evaluate:evaluate", 1)],
)
def test_in_a_stage(programs, tmp_path, place, count, number):
    skipped = ("lorakiln.train:train", "lorakiln.choose:choose", "lorakiln.export:export")
    job = programs.start("train", tmp_path, ARGUMENTS, pause=place, count=count, skip=skipped)
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
        ("train", "logging", signal.SIGINT),
        ("train", "yaml", signal.SIGTERM),
        ("train", "omegaconf", signal.SIGINT),
        ("train", "torch._C", signal.SIGTERM),
        ("pipelines.compose", "omegaconf", signal.SIGINT),
        ("pipelines.train", "torch._C", signal.SIGINT),
        ("pipelines.encode", "pydantic", signal.SIGTERM),
        ("pipelines.evaluate", "pydantic", signal.SIGTERM),
        ("pipelines.export", "yaml", signal.SIGINT),
        ("lorakiln", "typer", signal.SIGINT),
        ("lorakiln", "torch._C", signal.SIGTERM),
    ],
)
def test_while_libraries_are_imported(tmp_path, program, module, number):
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"}
    arguments = {"train": ARGUMENTS, "lorakiln": ("inspect", "some.safetensors")}.get(program, ())
    command = [sys.executable, "-X", "importtime", "-m", program, *arguments]
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


MOMENTS = 5
START = "lorakiln.console.errors:exit_on_user_error"  # when the handlers are in place


@pytest.mark.parametrize("stage", STAGES)
def test_at_many_moments_of_a_stage(programs, stages_before, stage):
    stages = stages_before(stage)
    began = time.monotonic()
    run_all(programs, stages, [stage])
    duration, ended, slowest = time.monotonic() - began, [], 0.0
    for moment in np.random.default_rng(1).uniform(0, 0.7 * duration, MOMENTS):
        for number in STATUS:
            shutil.rmtree(stages / "outputs" / STAGES[stage], ignore_errors=True)
            shutil.rmtree(stages / "cache", ignore_errors=True)
            status, printed, took = programs.start(f"pipelines.{stage}", stages, pause=START).kill_later(number, moment)
            assert "Traceback" not in printed and "Exception ignored" not in printed, printed
            told = [line for line in printed.splitlines() if line.startswith(("interrupted by", "stopped after step"))]
            # It may have ended before.
            assert (status, len(told)) in ((STATUS[number], 1), (0, 0)), (moment, status, printed)
            ended.append(status)
            slowest = max(slowest, took)
    assert sum(map(bool, ended)) >= MOMENTS
    assert slowest < 5
    run_all(programs, stages, [stage])


BEGIN = (
    "import atexit, importlib, os, signal, sys, threading, time\n"
    "from lorakiln.console.exit_signals import end_by_signals\nend_by_signals(float(sys.argv[1]))\n"
    "from lorakiln.console.errors import UserError, exit_on_user_error\n"
    "def wait():\n    print('ready', flush=True)\n    time.sleep(60)\n"
)
END = "sys.exit(exit_on_user_error(work))\n"
# What becomes of the exception that a handler raises.
LOSERS = {
    "a finalizer": "class Kept:\n    def __del__(self):\n        wait()\ndef work():\n    Kept()\n    time.sleep(60)\n",
    "swallowed, then a lock": (
        "def work():\n    try:\n        wait()\n    except BaseException:\n        pass\n"
        "    lock = threading.Lock()\n    lock.acquire()\n    lock.acquire()\n"
    ),
    "swallowed at the end": "def work():\n    try:\n        wait()\n    except BaseException:\n        pass\n",
    "another error": (
        "def work():\n    try:\n        wait()\n    except BaseException as error:\n"
        "        raise RuntimeError('torn') from error\n"
    ),
    "a user's error": (
        "def work():\n    try:\n        wait()\n    except BaseException as error:\n"
        "        raise UserError('a process was killed') from error\n"
    ),
    "an import": "def work():\n    importlib.import_module('torn')\n    time.sleep(60)\n",
    "after the work": "def work():\n    atexit.register(wait)\n",
    "a thread that breaks": (
        "def fail(main=threading.main_thread()):\n    time.sleep(0.3)\n    raise RuntimeError\n"
        "def work():\n    try:\n        wait()\n    finally:\n        thread = threading.Thread(target=fail)\n"
        "        thread.start()\n        thread.join()\n"
    ),
}


@pytest.mark.parametrize("number", [*STATUS, signal.SIGUSR1])
@pytest.mark.parametrize("loser", LOSERS)
def test_whatever_becomes_of_the_exception(tmp_path, loser, number):
    (tmp_path / "program.py").write_text(BEGIN + LOSERS[loser] + END)
    (tmp_path / "torn.py").write_text(
        "import time\ntry:\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "except BaseException as error:\n    raise RecursionError('torn') from error\n"
    )
    with started(tmp_path / "program.py", "60") as process:
        process.send_signal(number)
        printed = process.stderr.read()
        assert process.wait(10) == 128 + number, printed
    assert printed == f"interrupted by {number.name}: what is finished is kept\n"


def test_the_line_begins_behind_what_is_half_printed(tmp_path):
    body = (
        "def work():\n    print('a line', file=sys.stderr)\n"
        "    print('half', end='', file=sys.stderr, flush=True)\n    wait()\n"
    )
    (tmp_path / "program.py").write_text(BEGIN + body + END)
    with started(tmp_path / "program.py", "60") as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() == "a line\nhalf\ninterrupted by SIGINT: what is finished is kept\n"


def test_cleaning_up_is_not_cut_short(tmp_path):
    body = (
        "def work():\n    try:\n        wait()\n    finally:\n        for _ in range(10):\n"
        "            time.sleep(0.1)\n        print('cleaned', flush=True)\n"
    )
    (tmp_path / "program.py").write_text(BEGIN + body + END)
    with started(tmp_path / "program.py", "60") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 143
        assert process.stdout.read() == "cleaned\n"


def test_a_forked_process_ends_as_its_parent_expects(tmp_path):
    body = "def work():\n    if not (child := os.fork()):\n        wait()\n    os._exit(os.waitpid(child, 0)[1])\n"
    (tmp_path / "program.py").write_text(BEGIN + body.replace("wait()", "print(os.getpid(), flush=True); wait()") + END)
    with started(tmp_path / "program.py", "60", ready=False) as process:
        child = int(process.stdout.readline())
        assert process.stdout.readline() == "ready\n"
        os.kill(child, signal.SIGTERM)
        assert process.wait(20) == signal.SIGTERM  # as `waitpid` has it
        assert process.stderr.read() == ""


@contextlib.contextmanager
def started(program, *arguments, ready=True):
    """A program of these tests that is ready, and in the end is no more."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{program.parent}"}
    with subprocess.Popen(
        [sys.executable, str(program), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert not ready or process.stdout.readline() == "ready\n", process.stderr.read()
            yield process
        finally:
            process.kill()


def test_a_signal_to_all_at_once_does_not_cut_short_what_is_saved(tmp_path):
    """The parent's end is a reason to end too, but no second signal."""
    body = (
        "from lorakiln.console.orphans import end_with_parents\nfrom lorakiln.train.stop_request import StopRequest\n"
        "def work():\n    end_with_parents(1)\n    stop = StopRequest()\n    stop.install()\n"
        "    print('ready', flush=True)\n    while not stop.signal:\n        time.sleep(0.1)\n"
        "    time.sleep(2.5)\n    print('saved', flush=True)\n    raise SystemExit(143)\n"
    )
    (tmp_path / "program.py").write_text(BEGIN + body + END)
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen(
        ["sh", "-c", f"'{sys.executable}' '{tmp_path / 'program.py'}' 60; true"],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as shell:
        assert shell.stdout.readline() == "ready\n"
        os.killpg(shell.pid, signal.SIGTERM)
        assert shell.stdout.read() == "saved\n"


def test_a_program_that_does_not_end_is_ended(tmp_path):
    """Python drops exceptions in finalizers; and a second signal waits for nothing."""
    program = tmp_path / "stubborn.py"
    program.write_text(
        "import sys, time\nfrom lorakiln.console.exit_signals import end_by_signals\n"
        "end_by_signals(float(sys.argv[1]))\n"
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
