"""DVC killed at work, what that leaves, and what mends it."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import voluptuous
import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA


def killed(project, stage, seconds):
    """Kill `dvc repro` and all below it so long after a stage began, and mend what it may have torn as
    docs/bad_input.md says; the stages that ran."""
    log = project.folder / "killed.log"
    with log.open("w") as file:
        dvc = subprocess.Popen(
            ["dvc", "repro"],
            cwd=project.folder,
            env={**project.with_programs(), "PYTHONUNBUFFERED": "1"},
            stdout=file,
            stderr=file,
        )
        end = time.monotonic() + 250
        while f"Running stage '{stage}'" not in log.read_text():
            assert dvc.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        time.sleep(seconds)
        kill_all(project, dvc)
    return re.findall(r"Running stage '(\w+)'", log.read_text())


def kill_all(project, dvc):
    """Kill what works in a project's folder, and mend what that may have torn."""
    end = time.monotonic() + 250
    # The forks that do the work have groups of their own: see preloaded/server.py.
    while programs := find_programs(project.folder):
        for process in programs:
            with contextlib.suppress(ProcessLookupError):  # killed with another
                os.kill(process, signal.SIGKILL)
        dvc.poll()
        assert time.monotonic() < end, programs
    dvc.wait(30)
    mend(project)


def find_programs(folder):
    """The processes that work in a folder and run Python, the oldest first."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            if (process / "cwd").readlink() == folder and "python" in (process / "exe").readlink().name:
                found.append(int(process.name))
    return sorted(found)


def mend(project):
    """Do what docs/bad_input.md says of a file of DVC's own that a kill has torn; one that is whole is left alone."""
    lock, held = project.folder / "dvc.lock", project.folder / ".dvc/tmp/rwlock"
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(lock.read_text()) or {})
    except (yaml.YAMLError, voluptuous.Invalid):
        shutil.copy(project.folder / "outputs/.dvc_lock", lock)
    if held.exists() and not held.read_text().endswith("}"):
        held.unlink()


# DVC ends as it would by a kill between emptying dvc.lock and writing it.
TORN = """
import os, signal, sys
from dvc.utils.serialize import _yaml
_yaml._dump = lambda data, stream: os.kill(os.getpid(), signal.SIGKILL)
from dvc.cli import main
main(sys.argv[1:])
"""


def made(project):
    """What each stage made: every file but those that may differ between equal runs."""
    folders = ("prepared", "captioned", "encoded", "run", "lora", "report")
    found = {"resolved.yaml": (project.folder / "outputs" / "resolved.yaml").read_bytes()}
    for name in folders:
        folder = project.folder / "outputs" / name
        found[name] = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in ("provenance.json", "tracker.json")
        }
    return found


def wait_for_reader(pipe, program, log):
    """The pipe, opened for writing, as soon as a program has opened it; while it stays open the program waits."""
    while True:
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads it
            assert program.poll() is None, log.read_text()
            time.sleep(0.05)
