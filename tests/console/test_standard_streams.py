"""Streams that are closed, full, or read by nobody: no traceback, and no file in the place of one."""

import os
import subprocess
import sys

import pytest

from tests.faults.conftest import ROOT

# The program prints more than a stream's memory holds where `many` is given.
PROGRAM = """
import os, sys
from lorakiln.console.errors import exit_on_user_error

def work():
    with open("file.txt", "w") as file:
        if "others" in sys.argv:
            os.write(1, b"from a library\\n")
            os.system("echo from a program")
        print("told", file=sys.stderr)
        sys.stdin.read()
        print("line " * (20_000 if "many" in sys.argv else 1))
        file.write("kept")
    if "typer" in sys.argv:
        import typer
        app = typer.Typer()
        app.command()(lambda: print("line " * 20_000))
        app([])
    if "rich" in sys.argv:
        from rich.console import Console
        Console().print("drawn")

sys.exit(exit_on_user_error(work))
"""

# It begins to print when its reader has ended: the reader lets it go on by a pipe of its own.
READER = "< go | { exec 0<&-; : > go; }"


def _run(tmp_path, redirected, *arguments):
    os.mkfifo(tmp_path / "go")
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    command = f'"{sys.executable}" program.py {" ".join(arguments)} {redirected}'
    return subprocess.run(
        ["bash", "-c", f"{command}; exit ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "src")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_lead_nowhere(tmp_path, closed):
    done = _run(tmp_path, closed, "rich", "others")
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert (tmp_path / "file.txt").read_text(encoding="utf-8") == "kept"
    assert ("line" in done.stdout, "told" in done.stderr) == (">&-" not in closed.split(), "2>&-" not in closed)


@pytest.mark.parametrize("arguments", [(), ("many",), ("rich",)])
def test_a_full_disk_under_what_is_printed_is_one_line(tmp_path, arguments):
    done = _run(tmp_path, ">/dev/full", *arguments)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "told",
        "error: standard output: cannot write: No space left on device",
        "  fix: let it write elsewhere",
    ]


@pytest.mark.parametrize("arguments", [("many",), (), ("typer",), ("rich",)])
def test_who_ends_reading_ends_the_program_as_sigpipe_does(tmp_path, arguments):
    done = _run(tmp_path, f"2>told.txt {READER}", *arguments)
    assert done.returncode == 141
    told = (tmp_path / "told.txt").read_text(encoding="utf-8").splitlines()
    assert told == ["told", "ended, since nobody reads what it prints"]


def test_nobody_reads_what_it_says_of_that_either(tmp_path):
    done = _run(tmp_path, f"2>&1 {READER}")
    assert done.returncode == 141 and done.stdout == done.stderr == ""
