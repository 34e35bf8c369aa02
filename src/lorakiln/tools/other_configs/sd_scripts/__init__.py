"""Configs of kohya's sd-scripts and of its windows kohya_ss and LoRA_Easy_Training_Scripts, and its files' metadata."""

from collections.abc import Mapping
from typing import Any

from lorakiln.tools.other_configs.captions import settle_captions
from lorakiln.tools.other_configs.imported import Imported, is_off, read_value
from lorakiln.tools.other_configs.optimizer_defaults import take_optimizer_defaults
from lorakiln.tools.other_configs.reading import OtherConfig
from lorakiln.tools.other_configs.sd_scripts import network, pictures, training
from lorakiln.tools.other_configs.sd_scripts.easy import read_easy, take_schedule_args, take_schedule_class
from lorakiln.tools.other_configs.sd_scripts.gui import read_gui
from lorakiln.tools.other_configs.sd_scripts.metadata import read_training_metadata
from lorakiln.tools.other_configs.sd_scripts.network import choose_model, settle_adapter, take_encoders
from lorakiln.tools.other_configs.sd_scripts.options import BUCKETS, DEFAULTS, OPTIONS, Converter
from lorakiln.tools.other_configs.sd_scripts.training import (
    settle_adafactor,
    settle_loss,
    settle_warmup,
    take_batch,
    take_length,
    take_rate,
)
from lorakiln.tools.other_configs.words_alone import SCRIPTS, pop_words, take_words_alone

# Of a dataset config's folders, what `prepare` takes from the config itself.
OF_FOLDERS = ("num_repeats", "class_tokens", "caption_extension", "conditioning_data_dir")
# Which kinds they choose decides what their arguments mean.
FIRST = ("network_module", "optimizer_type")
MORE = "with this .toml in the dataset's own folder, each folder is trained as it says (docs/datasets.md)"


def translate(config: OtherConfig) -> Imported:
    """The experiment that a config asks for.

    Args:
        config: sd-scripts' own, a window's, or a file's metadata, whose names are the same behind "ss_".
    """
    options = dict(config.options)
    if config.program == "kohya_ss":
        options = read_gui(options, {*OPTIONS, *CONVERTERS})
    if config.program == "LoRA_Easy_Training_Scripts":
        options = read_easy(options)
    if options.get("metadata"):
        options = read_training_metadata(options)
    imported = Imported()
    given = {name: value for name, value in options.items() if not is_off(value)}
    given |= _find_batch(given.get("dataset_config"))
    words = pop_words(given) if SCRIPTS in config.script else None
    choose_model(imported, given, config.script)
    take_batch(imported, given)
    take_length(imported, given)
    take_rate(imported, given)
    for name in sorted(given, key=lambda name: name not in FIRST):
        value = given[name]
        if convert := CONVERTERS.get(name):
            convert(imported, value, given)
        elif option := OPTIONS.get(name):
            imported.take(f"--{name}", value, option)
        else:
            imported.leave(f"--{name}", value, "no option of sd-scripts that is known here")
    take_optimizer_defaults(imported)
    settle_adafactor(imported)
    settle_warmup(imported, given)
    settle_loss(imported, given)
    _fill_in(imported, given, says_buckets="enable_bucket" in options or not given.get("metadata"))
    settle_adapter(imported)
    settle_captions(imported)
    if words is not None:
        take_words_alone(imported, words)
    return imported


def _find_batch(datasets: Any) -> dict[str, Any]:
    """The batch size that a dataset config has, which counts before the program's own."""
    if not isinstance(datasets, dict):
        return {}
    merged = {**datasets.get("general", {}), **(datasets.get("datasets") or [{}])[0]}
    return {"train_batch_size": merged["batch_size"]} if "batch_size" in merged else {}


def _fill_in(imported: Imported, given: Mapping[str, Any], says_buckets: bool) -> None:
    """What the program does where nothing is said.

    Args:
        says_buckets: whether the config would say that there are buckets.
    """
    settings = imported.settings
    for name, setting in (("network_dim", "train.adapter.rank"), ("network_alpha", "train.adapter.alpha")):
        if setting not in settings:
            settings[setting] = DEFAULTS[name]
            imported.decided.append(f"{setting} is {DEFAULTS[name]}, kohya's own where --{name} is not given")
    if "train.adapter.targets" not in settings:
        settings["train.adapter.targets"] = "kohya"
        imported.decided.append("train.adapter.targets is kohya: the layers that networks.lora adapts")
    if "prepare.bucket.enable" not in settings and says_buckets and "prepare.resolution" in settings:
        settings["prepare.bucket.enable"] = False
        imported.decided.append("prepare.bucket.enable is false, as there without --enable_bucket")
    if settings.get("prepare.bucket.enable") and imported.choices["model"] == "sdxl":  # of others they are ours too
        absent = {name: one for name, one in BUCKETS.items() if name not in settings}
        if absent and settings.get("prepare.resolution", 0) <= BUCKETS["prepare.bucket.max"]:
            settings |= absent
            said = ", ".join(f"{name} {one}" for name, one in absent.items())
            imported.decided.append(f"{said}: kohya's own where they are not given; SDXL's are 512 to 2048")
    if "train.trainer.precision" not in settings and not given.get("metadata"):
        imported.decided.append(
            "train.trainer.precision is auto, the fastest that the device is good at; there it is float32 without "
            "--mixed_precision"
        )
    take_encoders(imported, given)
    if "caption.trigger" not in settings and "prepare.dataset" in settings:
        imported.decided.append("caption.trigger is empty: captions that hold the trigger words need none")


def _dataset_config(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    if not isinstance(value, dict):
        imported.leave("--dataset_config", value, "import that file itself, and take its settings over")
        return
    datasets = value.get("datasets") or [{}]
    batches = {str({**value.get("general", {}), **data}.get("batch_size", "none")): None for data in datasets}
    if len(batches) > 1 and "train.micro_batch" in imported.settings:
        why = "a dataset's own batch is of no sum of several: multiply it in the file by gradient_accumulation_steps"
        imported.leave("[[datasets]] batch_size", ", ".join(batches), why)
    every = [one for data in datasets for one in data.get("subsets", [])]
    trained = [one for one in every if not one.get("is_reg")]
    general = {name: one for name, one in value.get("general", {}).items() if name != "batch_size"}
    first = {name: one for name, one in datasets[0].items() if name not in ("subsets", "batch_size")}
    merged: dict[str, Any] = {**general, **first, **(trained[0] if trained else {})}
    if len(every) > 1:
        folders = ", ".join(str(one.get("image_dir", "another")) for one in every)
        imported.decided.append(
            f"the folders {folders} belong into the dataset's own, and this file beside them: `prepare` reads there "
            f"which are for regularisation, and their {', '.join(OF_FOLDERS)}"
        )
        merged = {name: one for name, one in merged.items() if name not in OF_FOLDERS}
        if len({repr({**one, **dict.fromkeys(("image_dir", *OF_FOLDERS))}) for one in trained}) > 1:
            imported.leave("[[datasets.subsets]]", len(trained), MORE)
    if weight := given.get("prior_loss_weight") if len(trained) < len(every) else None:
        imported.settings["train.objective.prior_loss_weight"] = read_value(weight)
    for name, one in merged.items():
        if is_off(one):
            continue
        if convert := CONVERTERS.get("train_data_dir" if name == "image_dir" else name):
            convert(imported, one, {**given, **merged})
        elif option := OPTIONS.get(name):
            imported.take(name, one, option)
        else:
            imported.leave(name, one, "no key of a dataset config that is known here")


CONVERTERS: dict[str, Converter] = {
    **network.CONVERTERS,
    **training.CONVERTERS,
    **pictures.CONVERTERS,
    "dataset_config": _dataset_config,
    "lr_scheduler_type": take_schedule_class,
    "lr_scheduler_args": take_schedule_args,
}
