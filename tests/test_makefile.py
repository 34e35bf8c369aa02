"""The environment that `make` keeps: made once, and again where it is another checkout's."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Stands in for Python: `-m venv [--clear] FOLDER` makes a pip that names its place, as the real one does.
PYTHON = """#!/bin/sh
for folder in "$@"; do :; done
case "$*" in *--clear*) rm -rf "$folder" ;; esac
mkdir -p "$folder/bin"
place=$(cd "$folder/bin" && pwd -P)
printf '#!/bin/sh\\n# %s/python\\necho "$@" >> "%s/../installed"\\n' "$place" "$place" > "$folder/bin/pip"
chmod +x "$folder/bin/pip"
"""


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return folder


def make(folder):
    """Make the environment; the lines that were run."""
    command = ["make", "--no-print-directory", f"PYTHON={folder.parent / 'python'}", ".venv/.ready"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if "up to date" not in line]


def test_it_is_made_once(checkout):
    assert len(make(checkout)) == 4
    assert make(checkout) == []
    os.utime(checkout / "requirements.lock", (2**31, 2**31))
    (checkout / ".venv" / "mine").touch()  # such as another build of torch
    assert any(" -m venv" in line and "--clear" not in line for line in make(checkout))
    assert (checkout / ".venv" / "mine").exists()


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_a_checkout_that_was_moved_or_copied_gets_its_own(checkout, move):
    make(checkout)
    (checkout / ".venv" / "stale").touch()
    there = checkout.parent / "there with a space"
    move(checkout, there)
    assert any("-m venv --clear" in line for line in make(there))
    assert not (there / ".venv" / "stale").exists()
    assert str(there / ".venv" / "bin") in (there / ".venv" / "bin" / "pip").read_text()
    assert make(there) == []


def test_one_that_was_begun_by_hand_is_kept(checkout):
    """As the README says: torch first, from the index of one's choice."""
    subprocess.run([checkout.parent / "python", "-m", "venv", ".venv"], cwd=checkout, check=True)
    (checkout / ".venv" / "torch").touch()
    assert len(make(checkout)) == 4 and (checkout / ".venv" / "torch").exists()
