"""What is left out of everything that is written: with `export.private` much, and the places of this machine always."""

import copy
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import PurePath, PureWindowsPath
from typing import Any

from lorakiln.facts.run import RunFacts
from lorakiln.families.model_source import is_hub_id
from lorakiln.schema.marks import Marks, Private, Setting, find_sections, list_by_name, list_outermost
from lorakiln.schema.whole_config import Config


def remove_private(facts: RunFacts, name: str) -> RunFacts:
    """The run's facts without the names of folders and without captions.

    The dataset takes the LoRA's `name`. Of the settings, what the schema calls a name goes; what it calls words or a
    file of one's own is empty, the trigger words aside; of each path of a model the last part is kept.
    """
    settings = copy.deepcopy(facts.settings)
    for holder, key, setting in _told(settings, lambda marks: marks.private not in (None, Private.NO, Private.TRIGGER)):
        if setting.marks.private is Private.NAME:
            holder.pop(key, None)
        elif _is_model(setting.marks):
            holder[key] = _last_part(holder[key])
        else:
            holder[key] = setting.field.get_default(call_default_factory=True)
    return facts.changed(
        dataset=facts.dataset.changed(name=name),
        init_from=None,
        base=facts.base.changed(path=_last_part(facts.base.path)),
        settings=settings,
    )


def remove_places(facts: RunFacts) -> RunFacts:
    """The run's facts with the last part alone of paths that lead from a disk's or a home's root, for files that others
    get: such a path helps nobody and tells a name."""
    settings = copy.deepcopy(facts.settings)
    for holder, key, _ in _told(settings, lambda marks: marks.private is Private.PATH):
        holder[key] = _without_place(holder[key])
    return facts.changed(base=facts.base.changed(path=_without_place(facts.base.path)), settings=settings)


def _told(settings: dict[str, Any], wanted: Callable[[Marks], bool]) -> Iterator[tuple[dict[str, Any], str, Setting]]:
    """Where recorded settings tell such a setting, if they tell something."""
    for setting in list_outermost(Config, wanted):
        above, _, key = setting.path.rpartition(".")
        # Of sections by names it stands in each: train.tokens.init in train.tokens.mydog.
        for one in find_sections(settings, above, _list_by_name()):
            if one.get(key):
                yield one, key, setting


@cache
def _list_by_name() -> frozenset[str]:
    return list_by_name(Config)


def _is_model(marks: Marks) -> bool:
    return marks.private is Private.PATH and marks.names is not None and marks.names.sort == "model"


def _without_place(path: str) -> str:
    rooted = path.startswith("~") or PurePath(path).is_absolute() or PureWindowsPath(path).drive
    return PureWindowsPath(path).name if rooted else path


def _last_part(path: str) -> str:
    """A local path's last part; a hub id, "owner/name", as it is."""
    return path if is_hub_id(path) else PureWindowsPath(path).name
