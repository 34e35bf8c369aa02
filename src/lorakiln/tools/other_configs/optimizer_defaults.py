"""What other programs' optimizers do where a config says nothing, and ours do otherwise."""

from collections.abc import Mapping
from typing import Any

from lorakiln.tools.other_configs.imported import Imported

# Of the libraries that the programs take them from: prodigyopt, lion-pytorch, dadaptation and schedulefree.
LIBRARIES: dict[str, dict[str, Any]] = {
    "lion": {"weight_decay": 0.0},
    "prodigy": {"weight_decay": 0.0, "use_bias_correction": False, "safeguard_warmup": False},
    "dadapt_adam": {"weight_decay": 0.0, "use_bias_correction": False},
    "schedule_free": {"weight_decay": 0.0},
}


def take_optimizer_defaults(imported: Imported, theirs: Mapping[str, Mapping[str, Any]] = LIBRARIES) -> None:
    """Set what the chosen optimizer has there where nothing is said.

    Args:
        theirs: by our optimizers' names, where the program's are others than the libraries'.
    """
    kind = imported.choices.get("train/optimizer", "adamw")
    absent = {
        name: one for name, one in theirs.get(kind, {}).items() if f"train.optimizer.{name}" not in imported.settings
    }
    if absent:
        imported.settings |= {f"train.optimizer.{name}": one for name, one in absent.items()}
        said = ", ".join(f"{name} {one}" for name, one in absent.items())
        imported.decided.append(f"train.optimizer has {said}: {kind}'s own there, where nothing is said")
