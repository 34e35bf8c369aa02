"""Work in several processes."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lorakiln.console.errors import UserError
from lorakiln.console.process_pool import count_workers, map_in_order


def explain(items):
    return UserError(f"killed at one of: {' '.join(items)}", fix="end what else runs")


def slow_first(name: str) -> str:
    time.sleep(0.5 if name == "0" else 0)
    return name * 2


def killed_at_5(name: str) -> str:
    if name == "5":
        os.kill(os.getpid(), signal.SIGKILL)
    return name


def raises(name: str) -> str:
    raise UserError("the disk is full", where=name, fix="free it")


@pytest.mark.timeout(60)
def test_results_come_in_order():
    assert list(map_in_order(slow_first, [str(n) for n in range(20)], 2, explain)) == [str(n) * 2 for n in range(20)]


@pytest.mark.timeout(60)
def test_a_killed_process_is_told_with_the_files_it_was_at():
    with pytest.raises(UserError, match=r"killed at one of: .*\b5\b") as caught:
        list(map_in_order(killed_at_5, [str(n) for n in range(40)], 2, explain))
    assert caught.value.fix == "end what else runs"


@pytest.mark.timeout(60)
def test_an_error_in_a_process_arrives_whole():
    with pytest.raises(UserError) as caught:
        list(map_in_order(raises, ["a"], 2, explain))
    assert (caught.value.where, caught.value.fix) == ("a", "free it")


def test_one_worker_works_here():
    assert set(map_in_order(lambda name: os.getpid(), ["a", "b"], 1, explain)) == {os.getpid()}


def test_few_files_are_not_worth_a_process():
    assert count_workers(None, 32, worth=32) == 1
    assert count_workers(None, 10**6, worth=32) == len(os.sched_getaffinity(0))
    assert count_workers(3, 1, worth=32) == 3


SCRIPT = """
import os, sys, time
from lorakiln.console.errors import UserError
from lorakiln.console.process_pool import map_in_order

def work(name):
    print(os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    list(map_in_order(work, ["a", "b"], 2, lambda items: UserError("killed")))
"""


@pytest.mark.timeout(60)
def test_no_process_outlives_its_killed_parent(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    source = str(Path(__file__).parents[2] / "src")
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "script.py"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": source},
    )
    children = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 20
    while any(is_running(child) for child in children):
        assert time.monotonic() < end, "a process is still there"
        time.sleep(0.1)


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def deaf(name: str) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.timeout(60)
def test_ctrl_c_is_the_parents_alone_from_a_childs_first_moment():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert all(map_in_order(deaf, ["0", "1", "2"], 2, explain))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def endless(name: str) -> str:
    time.sleep(100)
    return name


@pytest.mark.timeout(180)
def test_nobody_waits_for_what_is_given_up():
    # Python's own handler, whatever a training that was ended in this process has left.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    # On a busy machine the processes take seconds to start.
    threading.Timer(10, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(map_in_order(endless, ["0", "1", "2", "3"], 2, explain))
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 30
