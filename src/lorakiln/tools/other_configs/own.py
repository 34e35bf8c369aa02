"""The settings that a file of ours holds."""

from typing import Any

from lorakiln.tools.other_configs.imported import Imported
from lorakiln.tools.other_configs.reading import OtherConfig

# Where the settings of a group say which of its members they are of.
KINDS = {
    "caption": "captioner",
    "train/adapter": "kind",
    "train/objective": "kind",
    "train/optimizer": "kind",
    "train/scheduler": "kind",
}


def translate(config: OtherConfig) -> Imported:
    """The experiment that made the file, but for the trackers and the base, which a file does not name as a setting."""
    imported = Imported()
    name = config.options["name"]
    for section, values in config.options.items():
        if isinstance(values, dict):
            imported.settings[section] = dict(values)
    for group, key in KINDS.items():
        at: Any = imported.settings
        for part in group.split("/"):
            at = at.get(part) or {}
        if kind := at.get(key):
            imported.choices[group] = kind
    imported.settings.setdefault("export", {})["name"] = name
    return imported
