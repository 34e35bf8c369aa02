"""Configs of kohya's sd-scripts, of the kohya_ss GUI, and what the metadata of their files tell."""

from collections.abc import Mapping
from typing import Any

from lorakiln.tools.other_configs.captions import settle_captions
from lorakiln.tools.other_configs.imported import Imported, is_off
from lorakiln.tools.other_configs.reading import OtherConfig
from lorakiln.tools.other_configs.sd_scripts import network, pictures, training
from lorakiln.tools.other_configs.sd_scripts.network import choose_model, take_encoders
from lorakiln.tools.other_configs.sd_scripts.options import DEFAULTS, OPTIONS, Converter
from lorakiln.tools.other_configs.sd_scripts.origins import read_gui, read_training_metadata
from lorakiln.tools.other_configs.sd_scripts.training import take_batch, take_length, take_rate

# Which kinds they choose decides what their arguments mean.
FIRST = ("network_module", "optimizer_type")
MORE = "with this .toml in the dataset's own folder, each folder is trained as it says (docs/datasets.md)"


def translate(config: OtherConfig) -> Imported:
    """The experiment that a config asks for.

    Args:
        config: sd-scripts' own, the GUI's, or a file's metadata, whose names are the same behind "ss_".
    """
    options = dict(config.options)
    if config.program == "kohya_ss":
        options = read_gui(options, {*OPTIONS, *CONVERTERS})
    if options.get("metadata"):
        options = read_training_metadata(options)
    imported = Imported()
    for name in ("flux1_checkbox", "sd3_checkbox"):
        if config.options.get(name):
            imported.leave(name, True, "no family that is trained here; Stable Diffusion 1.5 is taken")
    given = {name: value for name, value in options.items() if not is_off(value)}
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
    _fill_in(imported, given)
    settle_captions(imported)
    return imported


def _fill_in(imported: Imported, given: Mapping[str, Any]) -> None:
    """What the program does where nothing is said."""
    settings = imported.settings
    for name, setting in (("network_dim", "train.adapter.rank"), ("network_alpha", "train.adapter.alpha")):
        if setting not in settings:
            settings[setting] = DEFAULTS[name]
            imported.decided.append(f"{setting} is {DEFAULTS[name]}, kohya's own where --{name} is not given")
    if "train.adapter.targets" not in settings:
        settings["train.adapter.targets"] = "kohya"
        imported.decided.append("train.adapter.targets is kohya: the layers that networks.lora adapts")
    if "prepare.bucket.enable" not in settings and not given.get("metadata") and "prepare.resolution" in settings:
        settings["prepare.bucket.enable"] = False
        imported.decided.append("prepare.bucket.enable is false, as there without --enable_bucket")
    take_encoders(imported, given)
    if "caption.trigger" not in settings and "prepare.dataset" in settings:
        imported.decided.append("caption.trigger is empty: captions that hold the trigger words need none")


def _dataset_config(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    if not isinstance(value, dict):
        imported.leave("--dataset_config", value, "import that file itself, and take its settings over")
        return
    datasets = value.get("datasets") or [{}]
    every = [one for data in datasets for one in data.get("subsets", [])]
    # What is trained on comes first here, wherever it stands there.
    subsets = sorted(every, key=lambda one: bool(one.get("is_reg")))
    merged: dict[str, Any] = {**value.get("general", {}), **datasets[0], **(subsets[0] if subsets else {})}
    merged.pop("subsets", None)
    for other in [*datasets[1:], *subsets[1:]]:
        imported.leave("[[datasets]]", other.get("image_dir", "another"), MORE)
    if "batch_size" in merged:
        imported.settings["train.batch_size"] = int(merged.pop("batch_size"))
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
}
