"""The chain of stages from pictures to the report: what each reads, what it writes, and which settings decide it.

The second door and the doctor walk it. dvc.yaml states the same for `dvc repro`, and tests/test_chain.py compares the
two.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

from lorakiln.artefacts.code_digest import find_code
from lorakiln.schema import marks
from lorakiln.schema.base import Settings
from lorakiln.schema.registry import list_modules
from lorakiln.schema.whole_config import Config


@dataclass(frozen=True)
class Stage:
    """One stage; its function has its name and stands in stage.py of the package of its name.

    Attributes:
        reads: folders, by their names in conf/paths.yaml, in the order in which the function takes them.
        writes: the folder that it takes next.
        settings: what it takes then, by their dotted names in the config. Nothing else of the config decides it.
    """

    name: str
    reads: tuple[str, ...]
    writes: str
    settings: tuple[str, ...]

    @property
    def module(self) -> str:
        """Where its function is defined."""
        return f"lorakiln.{self.name}.stage"

    def run(self, folders: Mapping[str, Path], settings: Mapping[str, Settings], *more: Any) -> None:
        """Call the stage's function.

        Args:
            folders: by their names; "raw" is the dataset's own.
            settings: by their dotted names.
            more: what only the function of this stage takes.

        Raises:
            UserError: whatever the stage refuses.
        """
        function = getattr(import_module(f"lorakiln.{self.name}"), self.name)
        read = [folders[name] for name in self.reads]
        function(*read, folders[self.writes], *(settings[name] for name in self.settings), *more)


DATA = (
    Stage("prepare", reads=("raw",), writes="prepared", settings=("prepare",)),
    Stage("caption", reads=("prepared", "raw"), writes="captioned", settings=("caption", "model.captioner")),
    Stage("encode", reads=("captioned",), writes="encoded", settings=("encode", "model")),
)
TRAIN = Stage("train", reads=("encoded",), writes="run", settings=("train", "model"))
CHOOSE = Stage("choose", reads=("run", "captioned"), writes="choice", settings=("choose", "evaluate", "model"))
EXPORT = Stage("export", reads=("run", "captioned", "choice"), writes="lora", settings=("export", "model"))
EVALUATE = Stage(
    "evaluate", reads=("lora", "captioned", "run", "choice"), writes="report", settings=("evaluate", "model")
)
RESULTS = (CHOOSE, EXPORT, EVALUATE)
CHAIN = (*DATA, TRAIN, *RESULTS)


def select_settings(config: Config) -> dict[str, Settings]:
    """What the stages take of a config, by its dotted names."""
    return {name: attrgetter(name)(config) for stage in CHAIN for name in stage.settings}


def list_namespaces(stages: Sequence[Stage]) -> list[str]:
    """The parts of the config that decide any of `stages`: each stage's own, in their order, then "model"."""
    named = [name.partition(".")[0] for stage in stages for name in stage.settings]
    return list(dict.fromkeys(reversed(named)))[::-1]


def compute_stage_code(stage: Stage, config: Config, *besides: str) -> str:
    """16 hex digits for the code that decides what a stage makes with these settings; see `artefacts.code_digest`.

    Of kinds it is the code of those that the stage's settings choose. What settings say of themselves counts too: it
    decides what is in keys, and what an export leaves out.

    Args:
        besides: other modules that run with the stage.
    """
    chosen = [attrgetter(name)(config) for name in stage.settings]
    told = list_settings_modules(*([config] if stage == EXPORT else chosen))
    return find_code(stage.module, *besides, *list_modules(*chosen), *told).digest


def list_settings_modules(*settings: Settings) -> list[str]:
    """The modules in which the classes of settings, and of those inside them, are defined; sorted."""
    found = {marks.__name__}
    for one in _with_inner(settings):
        found.update(kind.__module__ for kind in type(one).__mro__ if issubclass(kind, Settings))
    return sorted(found)


def _with_inner(settings: Sequence[Settings]) -> Iterator[Settings]:
    for one in settings:
        yield one
        yield from _with_inner(
            [inner for name in type(one).model_fields if isinstance(inner := getattr(one, name), Settings)]
        )


def locate_folders(folder: Path, stages: Sequence[Stage]) -> dict[str, Path]:
    """What `stages` write, by its names, where all of it lies in one folder."""
    return {stage.writes: folder / stage.writes for stage in stages}
