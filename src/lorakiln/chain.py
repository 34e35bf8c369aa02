"""The chain of stages from pictures to the report: what each reads, what it writes, and which settings decide it.

The second door and the doctor walk it. dvc.yaml states the same for `dvc repro`, and tests/test_chain.py compares the
two.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

from lorakiln.artefacts.code_digest import ROOT, find_code
from lorakiln.artefacts.hashing import hash_data, list_files
from lorakiln.artefacts.output_record import OutputRecord, list_folders
from lorakiln.console.gpu import find_device_type
from lorakiln.families.model_source import find_cached_commit, is_hub_id
from lorakiln.schema import marks
from lorakiln.schema.base import Settings
from lorakiln.schema.marks import list_named
from lorakiln.schema.registry import list_modules
from lorakiln.schema.whole_config import Config


@dataclass(frozen=True)
class Stage:
    """One stage; its function has its name and stands in stage.py of the package of its name.

    Attributes:
        reads: folders, by their names in conf/paths.yaml, in the order in which the function takes them.
        writes: the folder that it takes next.
        settings: what it takes then, by their dotted names in the config. Nothing else of the config decides it.
        unopened: which of the models that these name it does not open.
        on_device: whether the kind of device that it computes on decides what it makes.
        sends: the one of its settings with which it sends something away, whatever is there already.
    """

    name: str
    reads: tuple[str, ...]
    writes: str
    settings: tuple[str, ...]
    unopened: tuple[str, ...] = ()
    on_device: bool = True
    sends: str = ""

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

    def update(self, folders: Mapping[str, Path], settings: Mapping[str, Settings]) -> None:
        """Run it, unless its output is there, as it was made of the same: then no library is loaded that computes.

        Args, Raises: see `run`.
        """
        out, record = folders[self.writes], self._make_record(folders, settings)
        sends = any(getattr(settings[name], self.sends, None) for name in self.settings)
        if not sends and record.is_current():
            print(f"{self.name}: nothing has changed since {out} was made", flush=True)
            return
        with record.keeping():
            self.run(folders, settings)

    def _make_record(self, folders: Mapping[str, Path], settings: Mapping[str, Settings]) -> OutputRecord:
        chosen = {name: settings[name] for name in self.settings}
        code = find_code(self.module, *list_modules(*chosen.values()), *list_schema_modules())
        named = [
            one
            for name, part in chosen.items()
            for one in list_named(part, name)
            if one.names.sort != "pictures" and not any(one.path.startswith(f"{other}.") for other in self.unopened)
        ]
        # Of a hub's models what is in this machine's cache: the network is not asked.
        commits = {one.path: find_cached_commit(one.value, one.revision) for one in named if is_hub_id(one.value)}
        key = hash_data(
            code.digest,
            code.libraries,
            {name: part.model_dump(mode="json") for name, part in chosen.items()},
            find_device_type() if self.on_device else None,
            commits,
        )
        package = ROOT / self.name
        there = {one.path: Path(one.value).expanduser() for one in named if one.path not in commits}

        def list_inputs() -> dict[str, Path]:
            found = {f"{self.name}/{path.relative_to(package)}": path for path in _list_templates(package)}
            for name, path in there.items():
                found |= _list_linked(name, path)
            if "raw" in self.reads:
                found |= _list_linked("raw", folders["raw"])
            return found | list_folders({name: folders[name] for name in self.reads if name != "raw"})

        return OutputRecord(folders[self.writes], key, list_inputs)


def _list_linked(name: str, path: Path) -> dict[str, Path]:
    """A file or a folder's files by `name`, what links lead to as well; without what file managers leave behind."""
    if not path.is_dir():
        return {name: path} if path.is_file() else {}
    return {f"{name}/{one.relative_to(path).as_posix()}": one for one in list_files(path, follow_links=True)}


def _list_templates(package: Path) -> Iterator[Path]:
    """What of a package is read, and is no code."""
    return (path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc"))


DATA = PREPARE, CAPTION, ENCODE = (
    Stage("prepare", reads=("raw",), writes="prepared", settings=("prepare",), on_device=False),
    Stage("caption", reads=("prepared", "raw"), writes="captioned", settings=("caption", "model.captioner")),
    Stage(
        "encode",
        reads=("captioned",),
        writes="encoded",
        settings=("encode", "model"),
        unopened=("model.captioner", "model.clip"),
    ),
)
TRAIN = Stage("train", reads=("encoded",), writes="run", settings=("train", "model"))
CHOOSE = Stage(
    "choose",
    reads=("run", "captioned"),
    writes="choice",
    settings=("choose", "evaluate", "model"),
    unopened=("model.captioner",),
)
EXPORT = Stage(
    "export",
    reads=("run", "captioned", "choice"),
    writes="lora",
    settings=("export", "model"),
    unopened=("model.captioner", "model.clip"),
    sends="push_to_hub",
)
EVALUATE = Stage(
    "evaluate",
    reads=("lora", "captioned", "run", "choice"),
    writes="report",
    settings=("evaluate", "model"),
    unopened=("model.captioner",),
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


@cache
def list_schema_modules() -> tuple[str, ...]:
    """All modules of `lorakiln.schema`, sorted."""
    files = sorted((ROOT / "schema").rglob("*.py"))
    names = [path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in files]
    return tuple(f"lorakiln.{name.removesuffix('.__init__')}" for name in names)


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
