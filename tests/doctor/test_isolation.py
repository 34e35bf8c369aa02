import faulthandler
import os
import re
import signal
import time

import pytest
import torch

from lorakiln.console.errors import UserError
from lorakiln.doctor import isolation
from lorakiln.doctor.isolation import REPORT, end_if_asked, ending_by_signals, run_isolated


@pytest.fixture
def log(tmp_path):
    return tmp_path / "trial.log"


def test_the_result_and_what_was_printed_come_back(log, capfd):
    def work(number):
        print("said")
        os.write(2, b"and said past Python\n")
        return {"twice": 2 * number, "hidden": os.environ.get("PLANTED")}

    outcome = run_isolated(work, 21, log=log, environment={"PLANTED": "yes"})
    assert outcome.value() == {"twice": 42, "hidden": "yes"} and outcome.status == 0
    assert outcome.log.splitlines() == ["said", "and said past Python"]
    assert "PLANTED" not in os.environ
    assert capfd.readouterr() == ("", "")


def test_a_users_mistake_comes_back_as_it_was(log):
    def work():
        raise UserError("is wrong", where="here", fix="mend it")

    with pytest.raises(UserError, match="here: is wrong\n  fix: mend it"):
        run_isolated(work, log=log).value()


def test_a_crash_is_told_with_its_place_and_no_folder(log):
    def work():
        torch.zeros(2) @ torch.zeros(3)

    error = run_isolated(work, log=log).error
    assert error.what.startswith("RuntimeError: inconsistent tensor size")
    assert re.search(r" \(at test_isolation.py:\d+\)$", error.what) and "/" not in error.what
    assert error.fix == REPORT


def test_out_of_memory_is_told_as_that(log):
    def work():
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert "--micro-batch 1" in run_isolated(work, log=log).error.fix


def test_a_killed_trial_is_out_of_memory_most_likely(log):
    outcome = run_isolated(lambda: os.kill(os.getpid(), signal.SIGKILL), log=log)
    assert outcome.status == -signal.SIGKILL and "out of memory" in outcome.error.what


def test_a_trial_that_crashes_python_itself_is_one_error(log):
    def work():
        faulthandler.disable()  # the tests' own
        os.kill(os.getpid(), signal.SIGSEGV)

    outcome = run_isolated(work, log=log)
    assert outcome.error.what == "was ended by SIGSEGV"


def test_a_trial_that_hangs_is_ended(log):
    began = time.monotonic()
    outcome = run_isolated(lambda: time.sleep(60), log=log, patience=0.3)
    assert "not done after" in outcome.error.what and time.monotonic() - began < 20


def test_meanwhile_it_can_be_signalled(log):
    def meanwhile(number):
        if log.exists():  # before that it has the handlers of this process, which are pytest's
            os.kill(number, signal.SIGTERM)

    outcome = run_isolated(lambda: time.sleep(60), log=log, meanwhile=meanwhile)
    assert outcome.status == -signal.SIGTERM


@pytest.mark.parametrize(("number", "ends"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)])
def test_a_signal_ends_the_trial_and_this_program(log, number, ends):
    before, trials = signal.getsignal(number), []

    def meanwhile(process):
        trials.append(process)
        os.kill(os.getpid(), number)

    with pytest.raises(ends) as ended, ending_by_signals():
        run_isolated(lambda: time.sleep(60), log=log, meanwhile=meanwhile)
    assert number != signal.SIGTERM or ended.value.code == 143
    assert signal.getsignal(number) == before
    with pytest.raises(ProcessLookupError):
        os.kill(trials[0], 0)
    end_if_asked()  # what was asked for has been granted


def test_where_a_fork_could_not_use_cuda_a_process_is_spawned(log, monkeypatch):
    isolation._start_method.cache_clear()
    assert isolation._start_method() == "fork"
    isolation._start_method.cache_clear()
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    assert isolation._start_method() == "spawn"
    outcome = run_isolated(os.path.abspath, "x", log=log)
    isolation._start_method.cache_clear()
    assert outcome.value() == os.path.abspath("x") and outcome.status == 0
