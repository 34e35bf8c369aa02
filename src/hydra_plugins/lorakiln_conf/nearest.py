"""Names that nobody knows, and the nearest that somebody does: of settings, groups and the files in them."""

import difflib
import re
from collections.abc import Iterator, Sequence
from typing import Any, get_args, get_origin

from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue

from hydra_plugins.lorakiln_conf._files import FileConfigSource
from lorakiln.console.errors import UserError
from lorakiln.schema.base import list_sections
from lorakiln.schema.other_trainers import translate_setting
from lorakiln.schema.strict_yaml import read_yaml
from lorakiln.schema.whole_config import Config

# As hydra-core 1.3 says it; what it advises (`+` in front) is wrong for a name that is misspelt.
UNKNOWN = re.compile(r"Could not (?:override|delete from config\.) '([^']+)'")
NO_OPTION = re.compile(r"Could not find '([^']+)'")
NO_GROUP = re.compile(r"config group '([^']+)' does not exist")
MOST = 3  # names that are proposed


def explain_unknown_name(error: Exception) -> tuple[str, str] | None:
    """What is unknown, and what may have been meant; None if the error is about something else."""
    text = str(error)
    if found := NO_OPTION.search(text):
        return _option(found[1])
    if found := UNKNOWN.search(text) or NO_GROUP.search(text):
        key = found[1].partition("@")[0].partition("=")[0]
        return _group(key) if "/" in key or key in list_groups() else _setting(key, error)
    if isinstance(error, MissingMandatoryValue):
        return _missing(str(error.full_key))
    return None


def check_groups(keys: Sequence[str]) -> None:
    """Raise UserError for a key that can only mean a group, and means none that there is."""
    for key in keys:
        group = key.partition("@")[0]
        if "/" in group and group not in list_groups() and not group.startswith("hydra/"):
            what, fix = _group(group)
            raise UserError(what, fix=fix)


def list_settings(kind: Any = Config, path: str = "") -> Iterator[str]:
    """The dotted names of all settings and of their sections."""
    for name, field in kind.model_fields.items():
        where = f"{path}.{name}" if path else name
        yield where
        for part in list_sections(field):
            yield from list_settings(part, where)


def list_open_settings(kind: Any = Config, path: str = "") -> Iterator[str]:
    """The dotted names of the settings whose keys are the user's: train.tokens, caption.replaced_tags, ..."""
    for name, field in kind.model_fields.items():
        where = f"{path}.{name}" if path else name
        if _holds_dict(field.annotation):
            yield where
            continue
        for part in list_sections(field):
            yield from list_open_settings(part, where)


def _holds_dict(annotation: Any) -> bool:
    return get_origin(annotation) is dict or any(map(_holds_dict, get_args(annotation)))


def list_groups() -> list[str]:
    """The groups of the folder that was read last: "train/scheduler", ..."""
    root = FileConfigSource.root
    if root is None:
        return []
    return sorted({path.parent.relative_to(root).as_posix() for path in root.rglob("*.yaml")} - {"."})


def _setting(key: str, error: Exception) -> tuple[str, str]:
    above, _, last = key.rpartition(".")
    if above.startswith("hydra"):
        # By name what is to be said of it.
        known = _of_files(above) | {f"{above}.{name}": f"{above}.{name}" for name in _beside(error)}
    else:
        known = {name: name for name in list_settings()}
    # It is there, and what was given is to become a key of it.
    if (section := _find_section(error)) in set(list_open_settings()):
        value = "{...}" if key == section else "VALUE"
        return f"{key}: what {section} holds is added, for its keys are yours", f"put a + in front: '+{key}={value}'"
    if (named := translate_setting(key)) and named != key:
        return f"{key}: unknown setting", f"did you mean {named}?"
    if others := _options_with(above, last):
        here = [f"{above}.{name}" for name in _beside(error)]
        return f"{key}: unknown setting", f"it is of {' or '.join(others)}; known: {', '.join(here)}"
    if key in known:  # a section that the config leaves empty, as evaluate.likeness is
        return f"{key}: {above} is null here", f"give the section: '{above}={{{last}: VALUE}}'"
    # `steps=5` is most often the name without its section.
    near = [name for name in known if _last(name) == last] if not above else []
    near = (
        near
        or [
            name
            for name in difflib.get_close_matches(key, known, n=MOST, cutoff=0.6)
            if difflib.SequenceMatcher(None, _last(name), last).ratio() >= 0.6
        ][:1]
    )
    beside = [name for name in known if name.rpartition(".")[0] == above]
    return f"{key}: unknown setting", _proposal([known[name] for name in near[:MOST]], beside)


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _find_node(error: Exception) -> DictConfig | None:
    """The section in which OmegaConf did not find a key, where it tells it: of a deletion it does not."""
    parent = getattr(error.__cause__ or error.__context__, "parent_node", None)
    return parent if isinstance(parent, DictConfig) else None


def _find_section(error: Exception) -> str:
    """Its dotted name; "" where none is told."""
    node = _find_node(error)
    return "" if node is None else str(node._get_full_key(None))


def _beside(error: Exception) -> list[str]:
    """Its keys."""
    return [str(name) for name in _find_node(error) or ()]


def _of_files(section: str) -> dict[str, str]:
    """The keys that a group's files would bring: "hydra.sweeper.trials (with hydra/sweeper=optuna)"."""
    group = section.replace(".", "/")
    files = sorted((FileConfigSource.root / group).glob("*.yaml")) if FileConfigSource.root else []
    names = [(f"{section}.{key}", file.stem) for file in files for key in read_yaml(file) if key[0] != "_"]
    return {name: f"{name} (with {group}={stem})" for name, stem in names}


def _options_with(section: str, name: str) -> list[str]:
    """What to choose for a section to have a setting that what is chosen has not: "train/optimizer=sgd", ..."""
    group = section.replace(".", "/")
    if FileConfigSource.root is None or group not in list_groups():
        return []
    files = sorted((FileConfigSource.root / group).glob("*.yaml"))
    return [f"{group}={file.stem}" for file in files if name in read_yaml(file)]


def _group(key: str) -> tuple[str, str]:
    known = list_groups()
    if key in known:
        return f"{key}: not in the defaults list", f"put a + in front: +{key}=NAME, with NAME among {_options(key)}"
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"{key}: there is no such group", _proposal(near, known)


def _option(name: str) -> tuple[str, str]:
    group, _, option = name.rpartition("/")
    root = FileConfigSource.root
    if root is None or group not in list_groups():
        return f"there is no {name}", _proposal(difflib.get_close_matches(name, list_groups(), n=1), list_groups())
    known = [path.stem for path in sorted((root / group).glob("*.yaml"))]
    near = [f"did you mean {one}? " for one in difflib.get_close_matches(option, known, n=1, cutoff=0.6)]
    return f"there is no {group}={option}", f"{''.join(near)}{group} is one of: {', '.join(known)}"


def _missing(key: str) -> tuple[str, str]:
    if key != "prepare.dataset":
        return f"{key}: a value is missing", f"give it: {key}=..."
    return (
        "no dataset is named",
        f"prepare.dataset=NAME, a folder below data/raw; or +experiment=NAME, with NAME among {_options('experiment')}",
    )


def _options(group: str) -> str:
    root = FileConfigSource.root
    return ", ".join(path.stem for path in sorted((root / group).glob("*.yaml"))) if root else "its files"


def _proposal(near: Sequence[str], known: Sequence[str]) -> str:
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known: {', '.join(known)}" if known else "see the files in conf/ for what there is"
