"""Streams that are closed, full, or read by nobody: no traceback, and no file in the place of one."""

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
    if "rich" in sys.argv:
        from rich.console import Console
        Console().print("drawn")

sys.exit(exit_on_user_error(work))
"""


def _run(tmp_path, redirected, *arguments):
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


@pytest.mark.parametrize("arguments", [("many",), ("",)])
def test_who_ends_reading_ends_the_program_as_sigpipe_does(tmp_path, arguments):
    # It begins to print when its reader has ended.
    done = _run(tmp_path, "2>told.txt < <(sleep 0.5) | true", *arguments)
    assert done.returncode == 141
    told = (tmp_path / "told.txt").read_text(encoding="utf-8").splitlines()
    assert told[-1] == "ended, since nobody reads what it prints" and "Traceback" not in "".join(told)
