"""The programs of preloaded/: what runs in a fork is, to whoever started it, a command like any other."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import json, os, signal, sys, time
what, *more = sys.argv[1:]
if what == "tell":
    import lorakiln
    with os.fdopen(int(more[0]), "w") as file:
        json.dump([sys.stdin.read(), os.getcwd(), os.environ["SAID"], sys.path[:2], lorakiln.__file__], file)
    print("out")
    print("err", file=sys.stderr)
elif what == "wait":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    print(os.getpid(), flush=True)
    time.sleep(60)
elif what == "raise":
    raise ValueError("torch" in sys.modules)
elif what == "kill":
    os.kill(os.getpid(), int(more[0]))
elif what == "end":
    sys.exit(eval(more[0]))
"""


@pytest.fixture
def command(tmp_path, preloaded):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    return lambda *words: [str(preloaded / "python"), str(program), *words]


def test_it_has_the_commands_files_folder_environment_and_checkout(tmp_path, command):
    checkout = tmp_path / "checkout" / "lorakiln"
    checkout.mkdir(parents=True)
    (checkout / "__init__.py").touch()
    reading, writing = os.pipe()
    with os.fdopen(reading) as told:
        done = subprocess.run(
            command("tell", str(writing)),
            input="said",
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"SAID": "\udcff", "PYTHONPATH": "checkout"},
            pass_fds=[writing],
            check=False,
        )
        os.close(writing)
        assert (done.returncode, done.stdout, done.stderr) == (0, "out\n", "err\n")
        found = json.load(told)
    here = str(tmp_path)
    assert found == ["said", here, "\udcff", [here, str(checkout.parent)], str(checkout / "__init__.py")]


@pytest.mark.parametrize(("code", "status"), [("None", 0), ("3", 3), ("256 + 5", 5), ("'no'", 1)])
def test_it_ends_with_the_same_status(command, code, status):
    done = subprocess.run(command("end", code), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (status, "no\n" if code == "'no'" else "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_it_ends_by_the_same_signal(command, number):
    done = subprocess.run(command("kill", str(int(number))), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-number, "")


def test_what_nobody_catches_is_a_traceback_and_the_libraries_are_there(command):
    done = subprocess.run(command("raise"), capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == "ValueError: True"


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 7), (signal.SIGUSR1, -signal.SIGUSR1), (signal.SIGKILL, -9)]
)
def test_signals_reach_it(command, number, status):
    with subprocess.Popen(command("wait"), stdout=subprocess.PIPE, text=True) as started:
        process = int(started.stdout.readline())
        assert process != started.pid
        started.send_signal(number)
        assert started.wait(30) == status
    wait_until(lambda: not Path(f"/proc/{process}").exists())


def test_sigtstp_stops_it_and_its_end_is_still_this_ones(command):
    with subprocess.Popen(command("wait"), stdout=subprocess.PIPE, text=True) as started:
        state = Path(f"/proc/{int(started.stdout.readline())}/stat")
        started.send_signal(signal.SIGTSTP)
        wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T")
        started.kill()
    wait_until(lambda: not state.exists())


def wait_until(condition):
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_other_programs_are_the_interpreters_own(preloaded):
    shown = [preloaded / "python", "-c", "import sys; print(sys.executable, 'torch' in sys.modules)"]
    assert subprocess.check_output(shown, text=True).split() == [sys.executable, "False"]
