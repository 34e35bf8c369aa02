"""What is finished of an output that is not whole yet, kept beside it: a stage that was stopped goes on from there."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from lorakiln.artefacts.atomic_file import replacing_file
from lorakiln.artefacts.disk import explaining_disk_errors


class PartialResults:
    """Files by key, in a folder beside `out` that outlasts the process, however it ends.

    Used inside `replacing(out)`, so that one process at a time does.

    Args:
        ending: of the files' names, with its dot.
    """

    def __init__(self, out: Path, ending: str) -> None:
        self.folder, self.ending = locate_partial_results(out), ending

    def files(self) -> dict[str, Path]:
        """The files that are there, by key. After a power cut one may be damaged: whoever reads them looks."""
        return {path.name.removesuffix(self.ending): path for path in self.folder.glob(f"*{self.ending}")}

    def add(self, key: str, write: Callable[[Path], object]) -> Path:
        """Let `write` make a file under a temporary name, and call it by `key` once it is whole.

        Raises:
            UserError: the disk is full or not writable.
        """
        path = self.folder / f"{key}{self.ending}"
        with explaining_disk_errors(path), replacing_file(path) as beside:
            write(beside)
            os.replace(beside, path)
        return path

    def clear(self) -> None:
        """Forget all: the output is whole."""
        shutil.rmtree(self.folder, ignore_errors=True)


def hand_on_partial_results(out: Path, new: Path) -> None:
    """Let what is kept of `out` be kept of `new` too: the same output in another place goes on from there."""
    for path in locate_partial_results(out).glob("*"):
        if not (target := locate_partial_results(new) / path.name).exists():
            link_or_copy(path, target)


def locate_partial_results(out: Path) -> Path:
    """Where the finished parts of `out` are kept."""
    return out.parent / f".{out.name}.kept"


def link_or_copy(source: Path, target: Path) -> None:
    """Let `target` be the same file as `source`, or a copy where the disk knows no second names."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
