"""A second `dvc repro` while one runs: refused in one message, and the first goes on."""

import os
import re
import signal
import subprocess
import time

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_second_repro_is_refused_and_the_first_goes_on(own_project):
    log = own_project.folder.parent / "first.log"
    with log.open("w") as file:
        first = subprocess.Popen(
            ["dvc", "repro", "prepare"],
            cwd=own_project.folder,
            env=own_project.environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        end = time.monotonic() + 120
        while "Running stage 'prepare'" not in log.read_text():
            assert first.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        os.killpg(first.pid, signal.SIGSTOP)  # however slow the second is
        try:
            told = own_project.run("dvc", "repro", "prepare", status=255)
        finally:
            os.killpg(first.pid, signal.SIGCONT)
        assert first.wait(120) == 0, log.read_text()
    assert "Traceback" not in told and re.search(r"is busy|Unable to acquire lock", told), told
    assert own_project.run("dvc", "repro", "prepare").count("didn't change, skipping") == 2
