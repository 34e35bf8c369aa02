"""Translate a file of any program that is known."""

import importlib
from pathlib import Path

from lorakiln.console.errors import UserError
from lorakiln.tools.other_configs.imported import Imported, name_experiment
from lorakiln.tools.other_configs.reading import OtherConfig, read_config

MODULES = {
    "sd-scripts": "sd_scripts",
    "kohya_ss": "sd_scripts",
    "diffusers": "diffusers",
    "OneTrainer": "onetrainer",
    "ai-toolkit": "ai_toolkit",
    "LoRAKiln": "own",
}


def translate_file(path: Path) -> tuple[OtherConfig, Imported]:
    """The config in a file, and the experiment that it comes to.

    Raises:
        UserError: it cannot be read, is no config that is known, or a value in it is none.
    """
    config = read_config(path)
    module = importlib.import_module(f"lorakiln.tools.other_configs.{MODULES[config.program]}")
    try:
        imported: Imported = module.translate(config)
    except (ValueError, TypeError, AttributeError, KeyError, SyntaxError) as error:
        # Whatever the file has in the place of a number, a list or a table.
        what = f"a value of {config.program}'s config is none that it takes: {error}"
        raise UserError(
            what, where=str(path), fix=f"compare it with one that {config.program} itself has written"
        ) from error
    return config, imported


def suggest_name(path: Path, imported: Imported) -> str:
    """What the experiment is called: as the LoRA is, else as the file."""
    export = imported.settings.get("export")
    named = export.get("name") if isinstance(export, dict) else imported.settings.get("export.name")
    return name_experiment(str(named or path.stem))


def describe(config: OtherConfig, imported: Imported) -> list[str]:
    """What was decided, and what has no counterpart, a line each."""
    lines = [f"decided   {text}" for text in imported.decided]
    for name, value, why in imported.left:
        shown = str(value)
        lines.append(f"left out  {name} {shown if len(shown) <= 40 else shown[:37] + '...'}: {why}")
    return lines
