"""What `export.private` leaves out of everything that is written."""

import copy
from pathlib import PureWindowsPath
from typing import Any

from lorakiln.families.source import is_hub_id


def cleaned(facts: dict[str, Any], name: str) -> dict[str, Any]:
    """The run's facts without the names of folders and without captions.

    The dataset takes the LoRA's `name`; prompts of sample pictures and the file that training began with go. Of each
    path of the base model, its VAE, its configs, the captioner and the CLIP the last part is kept.
    """
    facts = copy.deepcopy(facts)
    settings, base = facts["settings"], facts["base"]
    facts["dataset"]["name"] = name
    settings["prepare"].pop("dataset", None)
    settings["train"]["samples"]["prompts"] = []
    settings["train"]["adapter"]["init_from"] = facts["init_from"] = None
    settings["train"].pop("tracker", None)
    model = settings["model"]
    for holder, key in (
        (base, "path"), (model, "path"), (model, "vae"), (model, "config"),
        (model.get("captioner", {}), "path"), (model.get("clip", {}), "path"),
    ):  # fmt: skip
        if holder.get(key):
            holder[key] = _last_part(holder[key])
    return facts


def _last_part(path: str) -> str:
    """A local path's last part; a hub id, "owner/name", as it is."""
    return path if is_hub_id(path) else PureWindowsPath(path).name
