"""Translate a file of any program that is known."""

import importlib
from pathlib import Path
from typing import Any

from lorakiln.console.errors import UserError
from lorakiln.schema.adapters import ADAPTERS
from lorakiln.schema.optimizers import OPTIMIZERS
from lorakiln.schema.registry import Registry
from lorakiln.schema.schedules import SCHEDULES
from lorakiln.tools.other_configs.imported import Imported, name_experiment
from lorakiln.tools.other_configs.reading import OtherConfig, read_config
from lorakiln.tools.other_configs.settling import settle_together

KINDS: tuple[tuple[str, Registry[Any], str], ...] = (
    ("train/adapter", ADAPTERS, "lora"),
    ("train/optimizer", OPTIMIZERS, "adamw"),
    ("train/scheduler", SCHEDULES, "constant"),
)
MODULES = {
    "sd-scripts": "sd_scripts",
    "kohya_ss": "sd_scripts",
    "LoRA_Easy_Training_Scripts": "sd_scripts",
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
        if config.program != "LoRAKiln":
            _take_captions(imported)
            _take_validation(imported)
            _leave_what_kinds_have_not(imported)
            settle_together(imported)
    except UserError as error:
        raise UserError(error.what, where=str(path), fix=error.fix) from error
    except (ValueError, TypeError, AttributeError, KeyError, SyntaxError, OverflowError) as error:
        # Whatever the file has in the place of a number, a list or a table.
        if unknown := [name for name in (config.command.unassigned if config.command else ()) if name in str(error)]:
            fix = f"write a value in the place of {unknown[0]}, a file for each that you want to try"
            raise UserError(f"gives {unknown[0]} no value", where=str(path), fix=fix) from error
        what = f"a value of {config.program}'s config is none that it takes: {error}"
        raise UserError(
            what, where=str(path), fix=f"compare it with one that {config.program} itself has written"
        ) from error
    return config, imported


def _take_captions(imported: Imported) -> None:
    # None of these programs writes captions while it trains.
    imported.choices["caption"] = "none"
    imported.decided.append("caption=none: pictures without a caption file have the trigger words; caption=blip writes")


def _take_validation(imported: Imported) -> None:
    # They hold no pictures back unless they are told to.
    if "train.validation.fraction" not in imported.settings:
        imported.settings["train.validation.fraction"] = 0.0
        imported.decided.append(
            "train.validation.fraction is 0: every picture is trained on, as there; 0.1 measures a loss on a tenth"
        )


def _leave_what_kinds_have_not(imported: Imported) -> None:
    """Leave out, and say so, kinds that there are not, and settings that the chosen kinds have not."""
    for group, registry, usual in KINDS:
        kind = imported.choices.get(group, usual)
        if kind not in registry.names:
            imported.leave(group, imported.choices.pop(group), f"none of that name here; {usual} is taken")
            kind = usual
        fields, section = registry.settings(kind).model_fields, group.replace("/", ".")
        for path in [path for path in imported.settings if path.startswith(f"{section}.")]:
            if path.split(".")[2] not in fields:
                imported.leave(path, imported.settings.pop(path), f"{group}={kind} has no such setting")


def suggest_name(path: Path, imported: Imported) -> str:
    """What the experiment is called: as the LoRA is, else as the file."""
    export = imported.settings.get("export")
    named = export.get("name") if isinstance(export, dict) else imported.settings.get("export.name")
    return name_experiment(str(named or path.stem))


def describe(config: OtherConfig, imported: Imported) -> list[str]:
    """What was decided, and what has no counterpart, a line each."""
    lines = [f"decided   {text}" for text in imported.decided]
    if command := config.command:
        for name in command.unassigned:
            lines.append(
                f"left out  {name}: the file gives it no value that can be read; write in the experiment what it is"
            )
        for name in command.lists:
            lines.append(
                f"left out  {name}: what the file puts in it; write it into the command itself, and import again"
            )
        for script in command.others:
            lines.append(f"left out  {script}.py: the file's first command is taken; put it into a file of its own")
    for name, value, why in imported.left:
        shown = str(value)
        lines.append(f"left out  {name} {shown if len(shown) <= 40 else shown[:37] + '...'}: {why}")
    return lines
