"""The program's options of LoRA_Easy_Training_Scripts' TOML, and the schedules that it adds to the program.

A section of its window has a table `args` of options and a table `dataset_args` of keys of a dataset config, whose
folders are the subsets: [general_args.args], [bucket_args.dataset_args], [[subsets]].
"""

from collections.abc import Iterator, Mapping
from typing import Any

from lorakiln.console.errors import UserError
from lorakiln.tools.other_configs.imported import Imported, is_off, read_value
from lorakiln.tools.other_configs.reading import ELSEWHERE, OTHER_FAMILY
from lorakiln.tools.other_configs.sd_scripts.options import OPTIONS, read_pairs

# Arguments of a network by which it chooses the network, and a switch of the section's.
MODULES = {"algo": "lycoris.kohya", "unit": "networks.dylora"}
REX = ("Rex", "RexAnnealingWarmRestarts")
RESTARTS = ("CosineAnnealingWarmupRestarts", "CosineAnnealingWarmRestarts")
# Of its schedules, where their arguments do not say it.
LEAST, FALL, BEND = 1e-6, 0.9, 0.9
# Of its files beside the training, whichever section has them.
QUIET = ("save_toml", "save_toml_location", "tag_occurrence", "tag_file_location")
EACH = "each cycle begins with a warm-up there, here the first alone"


def read_easy(table: Mapping[str, Any]) -> dict[str, Any]:
    """The program's options; what is empty, false or 0 says nothing, as there.

    Raises:
        UserError: it trains another family.
    """
    options: dict[str, Any] = {}
    for name, args in _list_tables(table, "args"):
        if args and any(family in name.lower() for family in ELSEWHERE):
            raise UserError(f"trains {OTHER_FAMILY}", fix="give a config for Stable Diffusion 1.x, 2.x or XL")
        options |= {name: one for name, one in _drop_empty(args).items() if name not in QUIET}
    args = _read_network_args(options.pop("network_args", {}))
    modules = [module for name, module in MODULES.items() if name in args]
    fa = ["networks.lora_fa"] if options.pop("fa", False) else []
    options["network_module"] = [options.get("network_module", "networks.lora"), *fa, *modules][-1]
    if args:
        options["network_args"] = args
    if warmup := options.pop("warmup_ratio", None):
        options["lr_warmup_steps"] = float(warmup)
    if options.get("lr_scheduler_num_cycles") == 1:
        del options["lr_scheduler_num_cycles"]
    general = {name: one for _, each in _list_tables(table, "dataset_args") for name, one in _drop_empty(each).items()}
    datasets = table.get("datasets") or [{"subsets": table.get("subsets") or []}]
    options["dataset_config"] = {"general": general, "datasets": [_read_dataset(one) for one in datasets]}
    return options


def _list_tables(table: Mapping[str, Any], kind: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, section in table.items():
        if isinstance(section, dict) and isinstance(one := section.get(kind), dict):
            yield name, one


def _drop_empty(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in given.items() if one and not is_off(one)}


def _read_network_args(given: Mapping[str, Any]) -> dict[str, Any]:
    """Its arguments, of which lists are written as the program has them: 0.5,1,1."""
    filled = _drop_empty(given)
    return {name: ",".join(map(str, one)) if isinstance(one, list) else one for name, one in filled.items()}


def _read_dataset(given: Mapping[str, Any]) -> dict[str, Any]:
    # A subset's name is the window's alone.
    subsets = [{key: one for key, one in _drop_empty(each).items() if key != "name"} for each in given["subsets"]]
    return {**_drop_empty(given), "subsets": subsets}


def take_schedule_class(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    """A schedule by its class, which counts before `--lr_scheduler`."""
    name, args = str(value).rpartition(".")[2], read_pairs(given.get("lr_scheduler_args"))
    if name not in (*REX, *RESTARTS):
        imported.take("--lr_scheduler_type", value, OPTIONS["lr_scheduler_type"])
        return
    kind = "rex" if name in REX else "cosine_with_restarts"
    imported.choices["train/scheduler"] = kind
    settings, rate = imported.settings, imported.settings["train.optimizer.lr"]
    least = float(args.pop("min_lr", LEAST))
    if 0 < least < rate:
        settings["train.scheduler.min_lr_ratio"] = least / rate
    gamma = float(args.pop("gamma", FALL))
    bend = float(args.pop("d", BEND))
    cycles = int(given.get("lr_scheduler_num_cycles") or 1)
    if kind == "rex":
        settings["train.scheduler.bend"] = bend
    elif cycles > 1:
        settings["train.scheduler.cycle_decay"] = gamma
    if warmup := args.pop("warmup_steps", None):
        settings["train.scheduler.warmup_steps"] = read_value(warmup)
    if cycles > 1 and (warmup or given.get("lr_warmup_steps")):
        imported.decided.append(f"train.scheduler.warmup_fraction or _steps: {EACH}")
    for other, one in args.items():
        imported.leave(f"--lr_scheduler_args {other}", one, f"train/scheduler={kind} has no such setting")


def take_schedule_args(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    """What `take_schedule_class` does not read with the class."""
    if str(given.get("lr_scheduler_type", "")).rpartition(".")[2] not in (*REX, *RESTARTS):
        imported.take("--lr_scheduler_args", value, OPTIONS["lr_scheduler_args"])
