"""outputs/resolved.yaml: what `compose` writes and every other stage starts from."""

from pathlib import Path
from typing import TypeVar

import yaml

from lorakiln.console.errors import UserError
from lorakiln.schema.base import Settings, Validator, check

Namespace = TypeVar("Namespace", bound=Settings)
RESOLVED = Path("outputs/resolved.yaml")


class Resolved:
    """The composed config; a stage checks the namespaces that it uses, and no others."""

    def __init__(self) -> None:
        if not RESOLVED.exists():
            raise UserError("not there yet", where=RESOLVED, fix="run `dvc repro` (or `dvc repro compose`) first")
        self.data = yaml.safe_load(RESOLVED.read_text(encoding="utf-8"))

    def __getitem__(self, name: str) -> Path:
        """The folder that conf/paths.yaml calls `name`."""
        return Path(self.data["paths"][name])

    @property
    def folders(self) -> dict[str, Path]:
        """All folders, by their names in conf/paths.yaml."""
        return {name: Path(path) for name, path in self.data["paths"].items()}

    def check(self, kind: Validator[Namespace], path: str) -> Namespace:
        """The validated settings at the dotted `path`, such as "prepare" or "model.captioner"."""
        data = self.data
        for key in path.split("."):
            data = data[key]
        return check(kind, data, path)


def locate_checkpoint_root(cache: Path) -> Path:
    """Where checkpoints live: absolute, in the main checkout.

    `dvc exp run --temp` and `--queue` run in a copy below .dvc/tmp/exps that is deleted afterwards; a checkpoint
    must outlive it.
    """
    here = cache.resolve()
    for parent in here.parents:
        if parent.name == "exps" and parent.parts[-3:-1] == (".dvc", "tmp"):
            return parent.parents[2] / cache / "checkpoints"
    return here / "checkpoints"
