"""What is left out of everything that is written: with `export.private` much, and the places of this machine always."""

import copy
from collections.abc import Iterator
from pathlib import PurePath, PureWindowsPath
from typing import Any

from lorakiln.families.source import is_hub_id


def cleaned(facts: dict[str, Any], name: str) -> dict[str, Any]:
    """The run's facts without the names of folders and without captions.

    The dataset takes the LoRA's `name`; prompts of sample pictures and the file that training began with go. Of each
    path of the base model, its VAE, its configs, the captioner and the CLIP the last part is kept.
    """
    facts = copy.deepcopy(facts)
    settings = facts["settings"]
    facts["dataset"]["name"] = name
    settings["prepare"].pop("dataset", None)
    settings["train"]["samples"]["prompts"] = []
    settings["train"]["adapter"]["init_from"] = facts["init_from"] = None
    settings["train"].pop("tracker", None)
    for holder, key in _models(facts):
        holder[key] = _last_part(holder[key])
    return facts


def without_places(facts: dict[str, Any]) -> dict[str, Any]:
    """The run's facts with the last part alone of paths that lead from a disk's or a home's root, for files that others
    get: such a path helps nobody and tells a name."""
    facts = copy.deepcopy(facts)
    for holder, key in (*_models(facts), (facts["settings"]["train"]["adapter"], "init_from")):
        path = holder.get(key)
        if path and (path.startswith("~") or PurePath(path).is_absolute() or PureWindowsPath(path).drive):
            holder[key] = PureWindowsPath(path).name
    return facts


def _models(facts: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Where a model's path stands, the base's and those of the settings."""
    model = facts["settings"]["model"]
    for holder, key in (
        (facts["base"], "path"), (model, "path"), (model, "vae"), (model, "config"),
        (model.get("captioner", {}), "path"), (model.get("clip", {}), "path"),
    ):  # fmt: skip
        if holder.get(key):
            yield holder, key


def _last_part(path: str) -> str:
    """A local path's last part; a hub id, "owner/name", as it is."""
    return path if is_hub_id(path) else PureWindowsPath(path).name
