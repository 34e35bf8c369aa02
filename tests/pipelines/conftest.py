"""A copy of the project in an empty folder, on the `smoke` experiment, and both doors to it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Project:
    """A checkout that tests may edit.

    Attributes:
        environment: of commands in processes of their own, for tests that kill or stop whole groups of them.
        programs: a folder whose `python` and `dvc` come first in the commands that `run` runs; None: the usual ones.
    """

    def __init__(self, folder: Path, programs: Path | None) -> None:
        self.programs = programs
        self.folder = folder
        bin_folder = Path(sys.executable).parent
        self.environment = {
            **os.environ,
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(folder / "src"),
            "OMP_NUM_THREADS": "1",
            "WANDB_MODE": "offline",
            "HF_HUB_OFFLINE": "1",
        }

    def run(self, *command: str, status: int = 0) -> str:
        """Run a command in the checkout; what it printed. The exit status must be `status`."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.with_programs(),
            capture_output=True,
            text=True,
            timeout=280,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == status, output[-4000:]
        return output

    def with_programs(self) -> dict[str, str]:
        """The environment in which `python` and `dvc` are `programs`."""
        first = f"{self.programs}{os.pathsep}" if self.programs else ""
        return {**self.environment, "PATH": first + self.environment["PATH"]}

    def repro(self) -> list[str]:
        """`dvc repro`; the names of the stages that ran."""
        return re.findall(r"Running stage '(\w+)'", self.run("dvc", "repro"))

    def edit(self, file: str, old: str, new: str) -> None:
        path = self.folder / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))


@pytest.fixture(scope="session")
def project(tmp_path_factory, preloaded):
    return copied(tmp_path_factory.mktemp("project"), preloaded)


@pytest.fixture
def own_project(tmp_path, preloaded):
    """A checkout of the test's own, for what leaves traces in git."""
    return copied(tmp_path, preloaded)


def copied(folder, programs):
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file() and name not in ("dvc.lock", "outputs/resolved.yaml"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
    project = Project(folder, programs)
    project.edit("params.yaml", "experiment: demo_style", "experiment: smoke")
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "t"]):
        project.run("git", *command)
    return project


@pytest.fixture(scope="session")
def reproduced(project):
    """The same after one `dvc repro`."""
    assert project.repro() == ["compose", "prepare", "caption", "encode", "train", "choose", "export", "evaluate"]
    return project
