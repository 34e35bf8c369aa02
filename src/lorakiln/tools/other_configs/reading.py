"""Find out whose config a file is, and read its options."""

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lorakiln.artefacts.file_safety import check_regular
from lorakiln.artefacts.tensor_files import read_metadata
from lorakiln.console.errors import UserError
from lorakiln.schema.other_trainers.sd_scripts import SECTIONS
from lorakiln.schema.strict_yaml import read_yaml
from lorakiln.tools.other_configs.command_line import Command, find_command
from lorakiln.tools.other_configs.imported import index_options
from lorakiln.tools.other_configs.words_alone import SCRIPTS

LARGEST = 10_000_000  # bytes: what is larger was not written by people
Program = Literal[
    "sd-scripts", "kohya_ss", "LoRA_Easy_Training_Scripts", "diffusers", "OneTrainer", "ai-toolkit", "LoRAKiln"
]
# Scripts of the same programs that train all weights, or what is no adapter.
ADAPTING = ("lora", "network", SCRIPTS)
# Of families that are not trained here, by what a script's name holds.
ELSEWHERE = ("flux", "sd3", "sana", "hunyuan", "lumina", "hidream", "qwen", "cogv", "kandinsky", "anima", "z_image")
# Lists of OneTrainer's, by the option that names a file of them.
NAMED = {"concepts": "concept_file_name", "samples": "sample_definition_file_name"}
OTHER_FAMILY = "a family of models that is none here"
READABLE = (
    "a .toml of kohya or LoRA_Easy_Training_Scripts, a kohya .json, a command line in a .sh, .bat, .ps1 or .txt, a "
    "OneTrainer .json, an ai-toolkit .yaml, or a .safetensors with its training's metadata"
)


@dataclass(frozen=True)
class OtherConfig:
    """A config as its program has it.

    Attributes:
        options: by name, without dashes; values as they stand there.
        script: of a command line, without ".py".
        command: where it is one of a command line.
    """

    program: Program
    options: dict[str, Any]
    script: str = ""
    command: Command | None = None


def read_config(path: Path) -> OtherConfig:
    """The config in a file.

    Raises:
        UserError: it cannot be read, or is no config of a program that is known.
    """
    if path.suffix.lower() == ".safetensors":
        return _of_metadata(path)
    suffix = path.suffix.lower()
    if suffix == ".toml":
        table = _read_toml(path)
        if _is_easy(table):
            word = (table.get("train_mode") or {}).get("train_mode") == SCRIPTS
            return OtherConfig("LoRA_Easy_Training_Scripts", table, f"train_{SCRIPTS}" if word else "")
        options = _flatten(table)
        if not options.keys() & {"dataset_config", *index_options(SECTIONS)}:
            raise UserError("holds no option of sd-scripts", where=str(path), fix=f"give {READABLE}")
        return OtherConfig("sd-scripts", _read_datasets(options, path))
    if suffix == ".json":
        return _of_json(path, _parse_json(_read(path), path, "compare it with a copy"))
    if suffix in (".yaml", ".yml"):
        return _of_yaml(path)
    return _of_command(path, _read(path))


def _read(path: Path) -> str:
    check_regular(path)
    try:
        if path.stat().st_size > LARGEST:
            raise UserError(f"has {path.stat().st_size:,} bytes", where=str(path), fix=f"give {READABLE}")
        data = path.read_bytes()
        # What PowerShell's > writes begins with UTF-16's mark.
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError("is no text in UTF-8", where=str(path), fix=f"give {READABLE}") from error
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if not text.strip():
        raise UserError("is empty", where=str(path), fix=f"give {READABLE}")
    return text


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(_read(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"no TOML: {error}", where=str(path), fix="compare it with a copy") from error


def _parse_json(text: str, where: Path | str, fix: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"no JSON: {error}", where=str(where), fix=fix) from error


def _is_easy(table: dict[str, Any]) -> bool:
    """Whether a TOML has sections of sections: [general_args.args], [general_args.dataset_args]."""
    sections = [one for name, one in table.items() if name.endswith("_args") and isinstance(one, dict)]
    return any(isinstance(one.get(kind), dict) for one in sections for kind in ("args", "dataset_args"))


def _flatten(table: dict[str, Any]) -> dict[str, Any]:
    """sd-scripts leaves the names of a TOML's sections aside; its [[datasets]] are a dataset config's."""
    if "datasets" in table:
        return {"dataset_config": table}
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat.update(value if isinstance(value, dict) else {name: value})
    return flat


def _read_datasets(options: dict[str, Any], path: Path) -> dict[str, Any]:
    """The options with the dataset config that they name, where it lies beside them."""
    named = options.get("dataset_config")
    if not isinstance(named, str) or not (beside := path.parent / named).is_file():
        return options
    table = _read_toml(beside)
    return {**options, **_flatten(table)} if "datasets" in table else options


def _of_json(path: Path, data: Any) -> OtherConfig:
    if isinstance(data, dict):
        if "LoRA_type" in data or {"max_resolution", "train_data_dir"} <= data.keys():
            return OtherConfig("kohya_ss", data)
        if "training_method" in data or "base_model_name" in data:
            return OtherConfig("OneTrainer", _read_named(data, path))
        if "network_module" in data or "network_dim" in data or "datasets" in data:
            return OtherConfig("sd-scripts", _flatten(data))
    raise UserError("is no config of a trainer that is known", where=str(path), fix=f"give {READABLE}")


def _read_named(options: dict[str, Any], path: Path) -> dict[str, Any]:
    """OneTrainer's options with the lists that it keeps in files of their own, where these lie beside the config, or as
    its own folder has them: training_presets/a.json, training_concepts/concepts.json.
    """
    found = dict(options)
    for name, named in NAMED.items():
        file = str(options.get(named) or "").replace("\\", "/")
        places = (path.parent / file, path.parent.parent / file, path.parent / Path(file).name)
        if options.get(name) is not None:  # the file is where it would be kept
            found.pop(named, None)
        elif file and (there := next((one for one in places if one.is_file()), None)):
            found[name] = _parse_json(_read(there), there, "compare it with a copy")
            del found[named]
    return found


def _of_yaml(path: Path) -> OtherConfig:
    data = read_yaml(path)
    config = data.get("config")
    processes = config.get("process") if isinstance(config, dict) else None
    if isinstance(config, dict) and isinstance(processes, list) and processes and isinstance(processes[0], dict):
        return OtherConfig("ai-toolkit", {**processes[0], "name": config.get("name"), "others": processes[1:]})
    fix = f"give {READABLE}; our own experiments lie in conf/experiment"
    raise UserError("is no config of ai-toolkit", where=str(path), fix=fix)


def _of_command(path: Path, text: str) -> OtherConfig:
    """The options of the first command that runs a training script."""
    try:
        command = find_command(text, windows=path.suffix.lower() in (".bat", ".cmd", ".ps1"))
    except ValueError as error:
        raise UserError(f"the command is not closed: {error}", where=str(path), fix="look at its quotes") from error
    if command is None:
        raise UserError("holds no command of a training script", where=str(path), fix=f"give {READABLE}")
    script, options = command.script, command.read_options()
    _check_script(script, path)
    # diffusers' of the last kind are called textual_inversion.py and textual_inversion_sdxl.py.
    own = "network" in script or "network_module" in options or f"train_{SCRIPTS}" in script
    program: Program = "sd-scripts" if own else "diffusers"
    if program == "sd-scripts" and isinstance(file := options.pop("config_file", None), str):
        beside = path.parent / (file if file.endswith(".toml") else f"{file}.toml")  # as sd-scripts finds it
        shared = _flatten(_read_toml(beside)) if beside.is_file() else {"config_file": file}
        options = {**shared, **options}
    if program == "sd-scripts":
        options = _read_datasets(options, path)
    return OtherConfig(program, options, script, command)


def _check_script(script: str, path: Path) -> None:
    if any(name in script for name in ELSEWHERE):
        fix = "give a config for Stable Diffusion 1.x, 2.x or XL"
        raise UserError(f"{script}.py trains {OTHER_FAMILY}", where=str(path), fix=fix)
    if script.endswith("_XTI"):
        fix = f"give a config of {script.removesuffix('_XTI')}.py: a word has one set of vectors here"
        raise UserError(f"{script}.py trains other vectors for each block", where=str(path), fix=fix)
    if not any(name in script for name in ADAPTING):
        fix = "train all weights with that program; here it would be a LoRA: docs/recipes.md"
        raise UserError(f"{script}.py trains no adapter", where=str(path), fix=fix)


def _of_metadata(path: Path) -> OtherConfig:
    metadata = read_metadata(path)
    if text := metadata.get("lorakiln_settings"):
        where, fix = (
            f"{path}: lorakiln_settings",
            "import what the file was made with: conf/experiment, or resolved.yaml",
        )
        settings = _parse_json(text, where, fix)
        if not isinstance(settings, dict):
            raise UserError("is no table of settings", where=where, fix=fix)
        return OtherConfig("LoRAKiln", {**settings, "name": metadata.get("ss_output_name", path.stem)})
    options = {key.removeprefix("ss_"): value for key, value in metadata.items() if key.startswith("ss_")}
    if "network_dim" not in options and "learning_rate" not in options:
        fix = "lorakiln inspect tells what the weights themselves show"
        raise UserError("says nothing of its training", where=str(path), fix=fix)
    return OtherConfig("sd-scripts", {**options, "metadata": True})
