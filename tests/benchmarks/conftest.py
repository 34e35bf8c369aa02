"""Benchmarks run as commands, whose programs are forks: they measure nothing then, and show that all of it runs."""

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def run_benchmark(tmp_path_factory, preloaded):
    """Runs `python -m benchmarks.<name>` with words for one round; its result, and what it printed."""

    def call(name: str, *words: str) -> tuple[dict, str]:
        folder = tmp_path_factory.mktemp(name)
        given = ["--rounds", "1", "--out", folder / "result.json", "--work", folder / "work", *words]
        done = subprocess.run(
            [preloaded / "python", "-m", f"benchmarks.{name}", *given],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        result = json.loads((folder / "result.json").read_text())
        assert result["benchmark"] == name and result["versions"]["torch"]
        return result, done.stdout

    return call
