"""Find out whose config a file is, and read its options."""

import json
import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lorakiln.artefacts.tensor_files import read_metadata
from lorakiln.console.errors import UserError
from lorakiln.schema.strict_yaml import read_yaml

LARGEST = 10_000_000  # bytes: what is larger was not written by people
Program = Literal["sd-scripts", "kohya_ss", "diffusers", "OneTrainer", "ai-toolkit", "LoRAKiln"]
SCRIPT = re.compile(r"([\w-]+)\.py\b")
READABLE = (
    "a kohya .toml or .json, a command line in a .sh, .bat or .txt, a OneTrainer .json, an ai-toolkit .yaml, or a "
    ".safetensors with its training's metadata"
)


@dataclass(frozen=True)
class OtherConfig:
    """A config as its program has it.

    Attributes:
        options: by name, without dashes; values as they stand there.
        script: of a command line, without ".py".
    """

    program: Program
    options: dict[str, Any]
    script: str = ""


def read_config(path: Path) -> OtherConfig:
    """The config in a file.

    Raises:
        UserError: it cannot be read, or is no config of a program that is known.
    """
    if path.suffix.lower() == ".safetensors":
        return _of_metadata(path)
    text = _read(path)
    suffix = path.suffix.lower()
    try:
        if suffix == ".toml":
            return OtherConfig("sd-scripts", _flatten(tomllib.loads(text)))
        if suffix == ".json":
            return _of_json(path, json.loads(text))
    except (tomllib.TOMLDecodeError, ValueError, RecursionError) as error:
        raise UserError(f"no {suffix[1:].upper()}: {error}", where=str(path), fix="compare it with a copy") from error
    if suffix in (".yaml", ".yml"):
        return _of_yaml(path)
    return _of_command(path, text)


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"has {path.stat().st_size:,} bytes", where=str(path), fix=f"give {READABLE}")
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError("is no text in UTF-8", where=str(path), fix=f"give {READABLE}") from error
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from error


def _flatten(table: dict[str, Any]) -> dict[str, Any]:
    """sd-scripts leaves the names of a TOML's sections aside; its [[datasets]] are a dataset config's."""
    if "datasets" in table:
        return {"dataset_config": table}
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return flat


def _of_json(path: Path, data: Any) -> OtherConfig:
    if isinstance(data, dict):
        if "LoRA_type" in data or {"max_resolution", "train_data_dir"} <= data.keys():
            return OtherConfig("kohya_ss", data)
        if "training_method" in data or "base_model_name" in data:
            return OtherConfig("OneTrainer", data)
        if "network_module" in data or "network_dim" in data or "datasets" in data:
            return OtherConfig("sd-scripts", _flatten(data))
    raise UserError("is no config of a trainer that is known", where=str(path), fix=f"give {READABLE}")


def _of_yaml(path: Path) -> OtherConfig:
    data = read_yaml(path)
    config = data.get("config")
    processes = config.get("process") if isinstance(config, dict) else None
    if isinstance(config, dict) and isinstance(processes, list) and processes and isinstance(processes[0], dict):
        return OtherConfig("ai-toolkit", {**processes[0], "name": config.get("name"), "others": processes[1:]})
    fix = f"give {READABLE}; our own experiments lie in conf/experiment"
    raise UserError("is no config of ai-toolkit", where=str(path), fix=fix)


def _of_command(path: Path, text: str) -> OtherConfig:
    """The options of the first command that runs a training script, whatever starts it."""
    # A line goes on after \ in a shell, ^ in a batch file, ` in PowerShell.
    joined = re.sub(r"[\\^`][ \t]*\r?\n", " ", text)
    line = next((one for one in joined.splitlines() if SCRIPT.search(one) and " --" in one), None)
    if line is None or not (script := next((s for s in SCRIPT.findall(line) if s.startswith(("train", "sdxl"))), None)):
        raise UserError("holds no command of a training script", where=str(path), fix=f"give {READABLE}")
    windows = path.suffix.lower() in (".bat", ".cmd", ".ps1")
    try:
        words = [word.strip("\"'") for word in shlex.split(line, posix=False)] if windows else shlex.split(line)
    except ValueError as error:
        raise UserError(f"the command is not closed: {error}", where=str(path), fix="look at its quotes") from error
    options: dict[str, Any] = {}
    begun = next(number for number, word in enumerate(words) if f"{script}.py" in word)
    name = ""
    for word in words[begun + 1 :]:
        if word.startswith("--"):
            name, given, value = word[2:].partition("=")
            options[name] = value if given else True
        elif name:
            options[name] = word if options[name] is True else [*_listed(options[name]), word]
    own = script in ("train_network", "sdxl_train_network") or "network_module" in options
    program: Program = "sd-scripts" if own else "diffusers"
    if program == "sd-scripts" and isinstance(file := options.pop("config_file", None), str):
        beside = path.parent / file
        shared = _flatten(tomllib.loads(_read(beside))) if beside.is_file() else {"config_file": file}
        options = {**shared, **options}
    return OtherConfig(program, options, script)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _of_metadata(path: Path) -> OtherConfig:
    metadata = read_metadata(path)
    if settings := metadata.get("lorakiln_settings"):
        return OtherConfig("LoRAKiln", {**json.loads(settings), "name": metadata.get("ss_output_name", path.stem)})
    options = {key.removeprefix("ss_"): value for key, value in metadata.items() if key.startswith("ss_")}
    if "network_dim" not in options and "learning_rate" not in options:
        fix = "lorakiln inspect tells what the weights themselves show"
        raise UserError("says nothing of its training", where=str(path), fix=fix)
    return OtherConfig("sd-scripts", {**options, "metadata": True})
