"""What `export.private` leaves out of everything that is written."""

import copy
from pathlib import PurePath
from typing import Any


def cleaned(facts: dict[str, Any], name: str) -> dict[str, Any]:
    """The run's facts without the names of folders and without captions.

    The dataset takes the LoRA's `name`; prompts of sample pictures, the file that training began with and a base
    model's folder (its last part is kept) go.
    """
    facts = copy.deepcopy(facts)
    settings, base = facts["settings"], facts["base"]
    facts["dataset"]["name"] = name
    settings["prepare"].pop("dataset", None)
    settings["train"]["samples"]["prompts"] = []
    settings["train"]["adapter"]["init_from"] = None
    settings["train"].pop("tracker", None)
    for holder in (base, settings["model"]):
        holder["path"] = PurePath(holder["path"]).name if PurePath(holder["path"]).is_absolute() else holder["path"]
    return facts
