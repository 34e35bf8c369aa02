"""What is left out of everything that is written: with `export.private` much, and the places of this machine always."""

import copy
from collections.abc import Callable, Iterator
from pathlib import PurePath, PureWindowsPath
from typing import Any

from lorakiln.families.model_source import is_hub_id
from lorakiln.schema.marks import Marks, Private, Setting, list_outermost, read_setting
from lorakiln.schema.whole_config import Config


def remove_private(facts: dict[str, Any], name: str) -> dict[str, Any]:
    """The run's facts without the names of folders and without captions.

    The dataset takes the LoRA's `name`. Of the settings, what the schema calls a name goes; what it calls words or a
    file of one's own is empty, the trigger words aside; of each path of a model the last part is kept.
    """
    facts = copy.deepcopy(facts)
    facts["dataset"]["name"] = name
    facts["init_from"] = None
    for holder, key, setting in _told(facts, lambda marks: marks.private not in (None, Private.NO, Private.TRIGGER)):
        if setting.marks.private is Private.NAME:
            holder.pop(key, None)
        elif _is_model(setting.marks):
            holder[key] = _last_part(holder[key])
        else:
            holder[key] = setting.field.get_default(call_default_factory=True)
    facts["base"]["path"] = _last_part(facts["base"]["path"])
    return facts


def remove_places(facts: dict[str, Any]) -> dict[str, Any]:
    """The run's facts with the last part alone of paths that lead from a disk's or a home's root, for files that others
    get: such a path helps nobody and tells a name."""
    facts = copy.deepcopy(facts)
    settings = [(holder, key) for holder, key, _ in _told(facts, lambda marks: marks.private is Private.PATH)]
    for holder, key in ((facts["base"], "path"), *settings):
        path = holder[key]
        if path.startswith("~") or PurePath(path).is_absolute() or PureWindowsPath(path).drive:
            holder[key] = PureWindowsPath(path).name
    return facts


def _told(facts: dict[str, Any], wanted: Callable[[Marks], bool]) -> Iterator[tuple[dict[str, Any], str, Setting]]:
    """Where the facts tell such a setting, if they tell something."""
    for setting in list_outermost(Config, wanted):
        above, _, key = setting.path.rpartition(".")
        holder = read_setting(facts["settings"], above)
        if isinstance(holder, dict) and holder.get(key):
            yield holder, key, setting


def _is_model(marks: Marks) -> bool:
    return marks.private is Private.PATH and marks.names is not None and marks.names.sort == "model"


def _last_part(path: str) -> str:
    """A local path's last part; a hub id, "owner/name", as it is."""
    return path if is_hub_id(path) else PureWindowsPath(path).name
