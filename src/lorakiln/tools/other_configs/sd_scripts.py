"""Configs of kohya's sd-scripts, of the kohya_ss GUI, and what the metadata of their files tell."""

import ast
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

from lorakiln.schema.other_trainers.sd_scripts import SECTIONS
from lorakiln.tools.other_configs.captions import settle_captions, take_class_tokens, take_warmup, take_wildcards
from lorakiln.tools.other_configs.imported import Imported, index_options, is_off, name_experiment, read_value
from lorakiln.tools.other_configs.reading import OtherConfig

OPTIONS = index_options(SECTIONS)
# What the program does where an option is not given, and we do otherwise.
DEFAULTS = {"network_dim": 4, "network_alpha": 1, "learning_rate": 2e-6, "train_batch_size": 1, "max_train_steps": 1600}
# The GUI's own names of the program's options.
GUI_NAMES = {"epoch": "max_train_epochs", "max_resolution": "resolution", "optimizer": "optimizer_type"}
OPTIMIZERS = {
    "adamw": "adamw",
    "adamw8bit": "adamw8bit",
    "pagedadamw8bit": "adamw8bit",
    "lion": "lion",
    "lion8bit": "lion",
    "sgdnesterov": "sgd",
    "adafactor": "adafactor",
    "prodigy": "prodigy",
    "dadaptation": "dadapt_adam",
    "dadaptadam": "dadapt_adam",
    "adamwschedulefree": "schedule_free",
    "came": "came",
}
SCHEDULES = {
    "constant": "constant",
    "constant_with_warmup": "constant",
    "linear": "linear",
    "cosine": "cosine",
    "cosine_with_restarts": "cosine_with_restarts",
    "cosine_with_min_lr": "cosine",
    "polynomial": "polynomial",
    "inverse_sqrt": "inverse_sqrt",
    "warmup_stable_decay": "wsd",
}
LYCORIS = {
    "lora": "lora",
    "locon": "lora",
    "loha": "loha",
    "lokr": "lokr",
    "diag-oft": "oft",
    "boft": "boft",
    "ia3": "ia3",
}
COMMON = {"img", "image", "images", "train", "data", "dataset"}
LOSSES = {"l2": "mse", "l1": "l1", "huber": "huber", "smooth_l1": "smooth_l1"}
# Of the metadata: counts and dates that nobody sets.
RECORDED = re.compile(
    r"session_id|training_\w+_at|num_\w+|epoch|steps|sd_model_hash|new_sd_model_hash|\w*vae_hash|\w*vae_name|dataset_dirs"
    r"|reg_dataset_dirs|tag_frequency|bucket_info|sd_scripts_commit_hash|datasets|training_comment|bucket_no_upscale"
    r"|enable_bucket|cache_latents|lowram|full_fp16|metadata|sd_model_name|sshs_\w+|face_crop_aug_range|color_aug|random_crop"
)


def translate(config: OtherConfig) -> Imported:
    """The experiment that a config asks for.

    Args:
        config: sd-scripts' own, the GUI's, or a file's metadata, whose names are the same behind "ss_".
    """
    options = dict(config.options)
    if config.program == "kohya_ss":
        options = _from_gui(options)
    if options.get("metadata"):
        options = _from_metadata(options)
    imported = Imported()
    given = {name: value for name, value in options.items() if not is_off(value)}
    _choose_model(imported, given, config.script)
    _take_batch(imported, given)
    _take_length(imported, given)
    _take_rate(imported, given)
    for name, value in given.items():
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
    if not given.get("network_train_unet_only"):
        imported.decided.append(
            "text encoders are not trained here, where kohya would without --network_train_unet_only"
        )
    if "caption.trigger" not in settings and "prepare.dataset" in settings:
        imported.decided.append("caption.trigger is empty: captions that hold the trigger words need none")


def _choose_model(imported: Imported, given: dict[str, Any], script: str) -> None:
    path = str(given.get("pretrained_model_name_or_path", ""))
    xl = given.pop("sdxl", False) or script.startswith("sdxl") or re.search(r"xl\b|sdxl|pony|illustrious", path.lower())
    version = str(given.pop("base_model_version", ""))
    if xl or version.startswith("sdxl"):
        imported.choices["model"] = "sdxl"
    elif given.pop("v2", False) or version.startswith("sd_v2"):
        v = given.get("v_parameterization") or version.endswith("_v")
        imported.choices["model"] = "sd21_v" if v else "sd21"
    else:
        imported.choices["model"] = "sd15"
    imported.decided.append(f"model={imported.choices['model']}, by what the config says of its base")


def _take_batch(imported: Imported, given: dict[str, Any]) -> None:
    batch = int(read_value(given.pop("train_batch_size", given.pop("batch_size", DEFAULTS["train_batch_size"]))))
    times = int(read_value(given.pop("gradient_accumulation_steps", 1)) or 1)
    imported.settings["train.batch_size"] = batch * times
    if times > 1:
        imported.settings["train.micro_batch"] = batch
        imported.decided.append(f"train.batch_size is {batch} x {times}: accumulation is part of it")


def _take_length(imported: Imported, given: dict[str, Any]) -> None:
    epochs = read_value(given.pop("max_train_epochs", None))
    steps = read_value(given.pop("max_train_steps", None))
    if epochs:
        imported.settings["train.epochs"] = epochs
    else:
        imported.settings["train.steps"] = steps or DEFAULTS["max_train_steps"]
        if not steps:
            imported.decided.append("train.steps is 1600, kohya's own where no length is given")


def _take_rate(imported: Imported, given: dict[str, Any]) -> None:
    unet, common = read_value(given.pop("unet_lr", None)), read_value(given.pop("learning_rate", None))
    rate = unet or common
    if not isinstance(rate, int | float):  # rates by blocks, as a text
        rate = common if isinstance(common, int | float) else DEFAULTS["learning_rate"]
        imported.decided.append(f"train.optimizer.lr is {rate:g}: no one rate is given")
    imported.settings["train.optimizer.lr"] = float(rate)


def _network(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    args = _pairs(given.get("network_args"))
    if "lycoris" in str(value):
        algo = str(args.get("algo", "lora")).lower()
        if algo not in LYCORIS:
            imported.leave("--network_args algo", algo, "no adapter that is trained here; a LoRA is, of the same rank")
        kind = LYCORIS.get(algo, "lora")
        if read_value(args.get("dora_wd")):
            kind = "dora"
        imported.settings.setdefault("train.adapter.targets", "locon")
    else:
        kind = "oft" if str(value).endswith("oft") else "lora"
        if not str(value).endswith(("networks.lora", "lora", "oft")):
            imported.leave("--network_module", value, "no adapter that is trained here; a LoRA is, of the same rank")
    imported.choices["train/adapter"] = kind


def _network_args(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    for name, one in _pairs(value).items():
        if name in ("algo", "dora_wd", "preset") or is_off(one):
            continue
        if name == "conv_dim":
            imported.settings["train.adapter.targets"] = "locon"
            if read_value(one) != read_value(given.get("network_dim", DEFAULTS["network_dim"])):
                _set_convolutions(imported, "rank_pattern", read_value(one))
        elif name == "conv_alpha":
            if read_value(one) != read_value(given.get("network_alpha", DEFAULTS["network_alpha"])):
                _set_convolutions(imported, "alpha_pattern", float(one))
        elif name in ("down_lr_weight", "mid_lr_weight", "up_lr_weight"):
            _scale_rates(imported, name.partition("_")[0], one, given)
        elif name in ("factor", "decompose_both", "full_matrix") and imported.choices.get("train/adapter") == "lokr":
            imported.settings[f"train.adapter.{name}"] = read_value(one)
        elif option := OPTIONS.get(name):
            if name in ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas"):
                imported.leave(f"--network_args {name}", one, f"write them {option.remark}")
            else:
                imported.take(f"--network_args {name}", one, option)
        else:
            imported.leave(f"--network_args {name}", one, "no argument of networks.lora that is known here")


def _set_convolutions(imported: Imported, setting: str, value: Any) -> None:
    # Those of a size above 1, which conv_dim is for.
    ends = ("conv1", "conv2", "downsamplers.0.conv", "upsamplers.0.conv")
    imported.settings[f"train.adapter.{setting}"] = dict.fromkeys(ends, value)


def _scale_rates(imported: Imported, side: str, value: Any, given: Mapping[str, Any]) -> None:
    factors = [read_value(one) for one in str(value).split(",")]
    part = "mid_block" if side == "mid" else f"{side}_blocks"
    if len(set(factors)) != 1 or not isinstance(factors[0], int | float):
        fix = f"write rates by names: train.optimizer.part_lrs={{{part}.1: 1e-4}}"
        imported.leave(f"--network_args {side}_lr_weight", value, fix)
        return
    rates = imported.settings.setdefault("train.optimizer.part_lrs", {})
    rates[part] = imported.settings["train.optimizer.lr"] * factors[0]


def _optimizer(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    name = str(value).partition("(")[0].rpartition(".")[2]
    kind = OPTIMIZERS.get(name.lower())
    if kind is None:
        imported.choices["train/optimizer"] = "pytorch_optimizer"
        imported.settings["train.optimizer.name"] = name
        imported.decided.append(f"{name} is taken from pytorch-optimizer: see train.optimizer.args")
    else:
        imported.choices["train/optimizer"] = kind
        if kind not in name.lower().replace("_", ""):
            imported.decided.append(f"train/optimizer={kind} for {name}")


def _optimizer_args(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    known = {"weight_decay", "betas", "beta3", "eps", "d0", "d_coef", "growth_rate", "momentum", "nesterov"}
    known |= {"use_bias_correction", "safeguard_warmup", "relative_step", "scale_parameter", "warmup_init"}
    for name, one in _pairs(value).items():
        if name in known:
            imported.settings[f"train.optimizer.{name}"] = _literal(one)
        elif name != "decouple":  # weight decay is AdamW's always
            imported.leave(f"--optimizer_args {name}", one, "see the optimizer's own settings: docs/training.md")


def _schedule(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    kind = SCHEDULES.get(str(value).lower())
    if kind is None:
        imported.leave("--lr_scheduler", value, "the rate is constant; train/scheduler=NAME chooses another")
        return
    imported.choices["train/scheduler"] = kind


def _warmup(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    steps = read_value(value)
    fraction = isinstance(steps, float) and steps < 1
    imported.settings[f"train.scheduler.warmup_{'fraction' if fraction else 'steps'}"] = steps


def _resolution(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    sides = [int(side) for side in re.findall(r"\d+", str(value))]
    if not sides:
        imported.leave("--resolution", value, "no number of pixels")
        return
    side = sides[0]
    if len(set(sides)) > 1:
        side = round(math.sqrt(sides[0] * sides[1]) / 64) * 64
        imported.decided.append(f"prepare.resolution is {side}, of nearly the same area as {value}")
    imported.settings["prepare.resolution"] = side


def _folder(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    path = PureWindowsPath(str(value)) if "\\" in str(value) else Path(str(value))
    # What the GUI calls the folder in every project says nothing.
    plain = path.name.lower() in COMMON
    name = name_experiment(str(given.get("output_name") or path.parent.name) if plain else path.name)
    imported.settings["prepare.dataset"] = name
    imported.decided.append(f"the pictures of {value} belong into data/raw/{name}")
    local = Path(str(value))
    trees = sorted(one.name for one in local.iterdir() if re.match(r"\d+_", one.name)) if local.is_dir() else []
    if trees:
        times, _, words = trees[0].partition("_")
        imported.settings["train.repeats"] = int(times)
        imported.decided.append(
            f"train.repeats is {times}, of the folder {trees[0]}: put its pictures into data/raw/{name} themselves"
        )
        if not any(local.glob("*/*.txt")) and not any(local.glob("*/*.caption")):
            imported.settings["caption.trigger"] = words
            imported.decided.append(f"caption.trigger is {words!r}, of the same folder, where no captions are")
        for other in trees[1:]:
            imported.leave("--train_data_dir", other, "one folder of pictures is trained on")


def _dataset_config(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    if not isinstance(value, dict):
        imported.leave("--dataset_config", value, "import that file itself, and take its settings over")
        return
    datasets = value.get("datasets") or [{}]
    subsets = [one for data in datasets for one in data.get("subsets", [])]
    merged: dict[str, Any] = {**value.get("general", {}), **datasets[0], **(subsets[0] if subsets else {})}
    merged.pop("subsets", None)
    for other in [*datasets[1:], *subsets[1:]]:
        imported.leave("[[datasets]]", other.get("image_dir", "another"), "one folder of pictures is trained on")
    if "batch_size" in merged:
        imported.settings["train.batch_size"] = int(merged.pop("batch_size"))
    for name, one in merged.items():
        if is_off(one):
            continue
        if convert := CONVERTERS.get("train_data_dir" if name == "image_dir" else name):
            convert(imported, one, given)
        elif option := OPTIONS.get(name):
            imported.take(name, one, option)
        else:
            imported.leave(name, one, "no key of a dataset config that is known here")


def _precision(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.settings["train.trainer.precision"] = {"no": "fp32"}.get(str(value), str(value))


def _loss(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.choices["train/objective"] = LOSSES.get(str(value), "mse")


def _epochs(setting: str) -> Callable[[Imported, Any, Mapping[str, Any]], None]:
    def convert(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
        count = read_value(value)
        imported.settings[setting] = f"{count} epoch{'s' if count != 1 else ''}"

    return convert


def _extension(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.settings["caption.extensions"] = [str(value)]


def _prompts(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.settings["train.samples.file"] = str(value)


def _tokenizer_length(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    length = read_value(value)
    if length in (75, 150, 225):
        imported.settings["encode.max_tokens"] = length


def _norm(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.settings["train.max_grad_norm"] = float(value) or None


def _quiet(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    """What is told elsewhere, or is what happens here anyway."""


CONVERTERS: dict[str, Callable[[Imported, Any, Mapping[str, Any]], None]] = {
    "network_module": _network,
    "network_args": _network_args,
    "optimizer_type": _optimizer,
    "optimizer_args": _optimizer_args,
    "lr_scheduler": _schedule,
    "lr_warmup_steps": _warmup,
    "resolution": _resolution,
    "train_data_dir": _folder,
    "dataset_config": _dataset_config,
    "mixed_precision": _precision,
    "loss_type": _loss,
    "save_every_n_epochs": _epochs("train.save_every"),
    "sample_every_n_epochs": _epochs("train.samples.every"),
    "validate_every_n_epochs": _epochs("train.validation.every"),
    "caption_extension": _extension,
    "enable_wildcard": take_wildcards,
    "token_warmup_step": take_warmup,
    "class_tokens": take_class_tokens,
    "sample_prompts": _prompts,
    "max_token_length": _tokenizer_length,
    "max_grad_norm": _norm,
    "metadata": _quiet,
    "v2": _quiet,
    "network_train_unet_only": _quiet,
    "enable_bucket": lambda imported, value, given: imported.settings.update({"prepare.bucket.enable": True}),
    "cache_latents": _quiet,
    "cache_latents_to_disk": _quiet,
    "save_model_as": _quiet,
    "xformers": _quiet,
    "sdpa": _quiet,
    "fp8_base": lambda imported, value, given: imported.settings.update({"train.trainer.quantize": "fp8"}),
    "output_dir": _quiet,
    "logging_dir": _quiet,
    "prior_loss_weight": _quiet,
    "huber_c": lambda imported, value, given: (
        imported.settings.update({"train.objective.huber_delta": float(value)})
        if given.get("loss_type", "l2") in ("huber", "smooth_l1")
        else None
    ),
}


def _pairs(value: Any) -> dict[str, Any]:
    """`a=1 b=2`, ["a=1"], {"a": 1} or the JSON of one, as networks' and optimizers' arguments are given."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        return dict(json.loads(value))
    if isinstance(value, dict):
        return value
    words = value.split() if isinstance(value, str) else value or []
    return {name: one for name, _, one in (str(word).partition("=") for word in words) if name}


def _literal(value: Any) -> Any:
    if isinstance(value, str) and "," in value:
        found = ast.literal_eval(value)
        return list(found) if isinstance(found, tuple) else found
    return read_value(value)


def _from_gui(options: dict[str, Any]) -> dict[str, Any]:
    """The program's options of the GUI's, which has names of its own for some and writes 0 for "none"."""
    found = {GUI_NAMES.get(name, name): value for name, value in options.items()}
    kind = str(found.pop("LoRA_type", "Standard"))
    found["network_module"] = "lycoris.kohya" if "LyCORIS" in kind else "networks.lora"
    args = [found.pop("network_args", "") or ""]
    if "LyCORIS" in kind:
        args.append(f"algo={kind.partition('/')[2].lower()}")
    if "LoCon" in kind or "C3Lier" in kind or "LyCORIS" in kind:
        args += [f"{name}={found[name]}" for name in ("conv_dim", "conv_alpha") if found.get(name)]
    for name in ("rank_dropout", "module_dropout"):
        args += [f"{name}={found[name]}"] if found.get(name) else []
    found["network_args"] = " ".join(args).strip()
    if percent := float(found.pop("lr_warmup", 0) or 0):
        found["lr_warmup_steps"] = percent / 100
    if extra := str(found.pop("additional_parameters", "") or ""):
        words = extra.replace("=", " ").split()
        found.update({w.removeprefix("--"): v for w, v in zip(words, [*words[1:], True], strict=True) if w[:2] == "--"})
    told = {*OPTIONS, *CONVERTERS, "sdxl", "unet_lr", "train_batch_size", "network_args"}
    return {name: value for name, value in found.items() if name in told and value not in (0, 0.0, "0")}


def _from_metadata(options: dict[str, Any]) -> dict[str, Any]:
    """The program's options of its ss_ keys."""
    found = {name: read_value(value) if name != "network_args" else value for name, value in options.items()}
    found["train_batch_size"] = found.pop("batch_size_per_device", None) or found.pop("total_batch_size", None) or 1
    found["optimizer_type"] = found.pop("optimizer", None)
    # "torch.optim.AdamW(weight_decay=0.05,betas=(0.9, 0.99))"
    found["optimizer_args"] = dict(re.findall(r"(\w+)=(\([^)]*\)|[^,)]+)", str(found["optimizer_type"])))
    if found.get("sd_model_name"):
        found["pretrained_model_name_or_path"] = found["sd_model_name"]
    folders = json.loads(options.get("dataset_dirs") or "{}")
    if len(folders) == 1:
        (name, counts), *_ = folders.items()
        found["train_data_dir"] = re.sub(r"^\d+_", "", name)
        found["dataset_repeats"] = counts.get("n_repeats", 1)
    if found.get("max_train_steps") and found.get("num_epochs"):
        found.pop("max_train_epochs", None)
    return {name: value for name, value in found.items() if not RECORDED.fullmatch(name) or name == "metadata"}
