"""What a job is made of beside its settings: pictures, captions, models and the program, which may change meanwhile."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lorakiln.artefacts.code_digest import find_code
from lorakiln.artefacts.hashing import hash_file, hash_folder
from lorakiln.families.identity import hash_quickly, identify
from lorakiln.families.model_source import find_cached_commit, is_hub_id
from lorakiln.schema.marks import find_sections, list_by_name, read_setting, walk
from lorakiln.schema.registry import list_modules
from lorakiln.schema.whole_config import Config

Stamp = tuple[tuple[str, int, int], ...]
MODEL_FILES = (".safetensors", ".json", ".txt")
DIGITS = 16
# The parts of the config that stages are called by, in their order.
STAGES = tuple(name for name in Config.model_fields if name not in ("paths", "model"))
# What has been read once in this process, with the sizes and times of its files: a sweep asks for every job.
_known: dict[Path, tuple[Stamp, str]] = {}


def identify_sources(settings: dict[str, Any]) -> dict[str, str | None]:
    """The identity of each by what people call it, 16 hex digits; None where that cannot be told now: a folder that is
    not there (the job says so itself), a model that was not fetched yet.

    Args:
        settings: a job's whole config; parts that it does not have are left out.
    """
    found: dict[str, str | None] = {"program": _program(settings)}
    follow = bool(read_setting(settings, "prepare.follow_symlinks"))
    for name, folder in _folders(settings):
        found[name] = _once(folder, lambda path: hash_folder(path, follow))
    for name, path, revision in _models(settings):
        found[name] = _commit(path, revision) if is_hub_id(path) else _once(Path(path).expanduser(), _model)
    return found


def list_differences(before: dict[str, str | None], now: dict[str, str | None]) -> list[str]:
    """The names of what is another now. What was or is unknown is held for the same."""
    return [name for name, one in now.items() if before.get(name) and one and before[name] != one]


def _program(settings: dict[str, Any]) -> str | None:
    """The code of all stages, with that of the kinds that the settings choose; of libraries nothing, as in a training's
    identity: a sweep that takes days is not begun anew by an upgrade."""
    try:
        config = Config.model_validate(settings)
    except ValidationError:  # the job itself says so
        return None
    return find_code(*(f"lorakiln.{stage}.stage" for stage in STAGES), *list_modules(config)).digest


def _folders(settings: dict[str, Any]) -> Iterator[tuple[str, Path]]:
    """Name and folder of every dataset of pictures that the settings name."""
    raw = read_setting(settings, "paths.raw")
    for setting in walk(Config):
        names, dataset = setting.marks.names, read_setting(settings, setting.path)
        if raw and dataset and names and names.sort == "pictures":
            yield names.title, Path(raw) / dataset


def _models(settings: dict[str, Any]) -> Iterator[tuple[str, str, str | None]]:
    """Name, path and revision of every model that the settings name."""
    by_name = list_by_name(Config)
    for setting in walk(Config):
        names = setting.marks.names
        if setting.section or not names or names.sort == "pictures":
            continue
        above, _, key = setting.path.rpartition(".")
        holders = [one for one in find_sections(settings, above, by_name) if one.get(key)]
        for number, holder in enumerate(holders, 1):
            title = names.title if len(holders) == 1 else f"{names.title} {number}"
            yield title, holder[key], holder.get(names.revision) if names.revision else None
            config = Path(holder[key]).expanduser().parent / "adapter_config.json"
            if names.sort == "lora" and config.is_file():
                yield f"config of the {title}", str(config), None  # says how peft's are meant


def _model(path: Path) -> str:
    """A model's folder or file by its content, as cheaply as the stages do it: large files are not read whole."""
    if path.is_file():
        return hash_quickly(path) if path.suffix == ".safetensors" else hash_file(path)
    files = [file for file in path.rglob("*") if file.suffix in MODEL_FILES and file.is_file()]
    return identify((file.relative_to(path).as_posix(), file) for file in files)


def _once(path: Path, read: Callable[[Path], str]) -> str | None:
    """What `read` says of a folder or file, read again only if sizes or times have changed."""
    try:
        stamp = _stamp(path)
        known = _known.get(path.absolute())
        if known is None or known[0] != stamp:
            known = (stamp, read(path)[:DIGITS])
            _known[path.absolute()] = known
    except OSError:
        # Not there, not readable, or changed at this moment: the job itself says so.
        return None
    return known[1]


def _stamp(path: Path) -> Stamp:
    files = [path] if not path.is_dir() else sorted(file for file in path.rglob("*") if file.is_file())
    return tuple((str(file), state.st_size, state.st_mtime_ns) for file in files for state in [file.stat()])


def _commit(name: str, revision: str | None) -> str | None:
    commit = find_cached_commit(name, revision)
    return commit[:DIGITS] if commit else None
