"""How weights move: batches, length, rate, optimizer, schedule, loss, and what is kept of it."""

import math
from collections.abc import Mapping
from typing import Any

from lorakiln.schema.optimizers import OPTIMIZERS as KINDS
from lorakiln.tools.other_configs.imported import Imported, read_value
from lorakiln.tools.other_configs.sd_scripts.options import (
    DEFAULTS,
    Converter,
    ignore,
    read_literal,
    read_pairs,
)

OPTIMIZERS = {
    "adamw": "adamw",
    "adamw8bit": "adamw8bit",
    "pagedadamw": "adamw",
    "pagedadamw32bit": "adamw",
    "pagedadamw8bit": "adamw8bit",
    "lion": "lion",
    "lion8bit": "lion",
    "pagedlion8bit": "lion",
    "sgdnesterov": "sgd",
    "sgdnesterov8bit": "sgd",
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

CONSTANT = "the schedule constant has no warm-up there; constant_with_warmup has"
LOSSES = {"l2": "mse", "l1": "l1", "huber": "huber", "smooth_l1": "smooth_l1"}


def take_batch(imported: Imported, given: dict[str, Any]) -> None:
    batch = int(read_value(given.pop("train_batch_size", given.pop("batch_size", DEFAULTS["train_batch_size"]))))
    times = int(read_value(given.pop("gradient_accumulation_steps", 1)) or 1)
    imported.settings["train.batch_size"] = batch * times
    if times > 1:
        imported.settings["train.micro_batch"] = batch
        imported.decided.append(f"train.batch_size is {batch} x {times}: accumulation is part of it")


def take_length(imported: Imported, given: dict[str, Any]) -> None:
    epochs = read_value(given.pop("max_train_epochs", None))
    steps = read_value(given.pop("max_train_steps", None))
    if epochs:
        imported.settings["train.epochs"] = epochs
    else:
        imported.settings["train.steps"] = steps or DEFAULTS["max_train_steps"]
        if not steps:
            imported.decided.append("train.steps is 1600, kohya's own where no length is given")


def take_rate(imported: Imported, given: dict[str, Any]) -> None:
    unet, common = read_value(given.pop("unet_lr", None)), read_value(given.pop("learning_rate", None))
    rate = unet or common
    if not isinstance(rate, int | float):  # rates by blocks, as a text
        rate = common if isinstance(common, int | float) else DEFAULTS["learning_rate"]
        imported.decided.append(f"train.optimizer.lr is {rate:g}: no one rate is given")
    imported.settings["train.optimizer.lr"] = float(rate)


def _optimizer(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    name = str(value).partition("(")[0].rpartition(".")[2]
    kind = OPTIMIZERS.get(name.lower())
    if "sgdnesterov" in name.lower():
        imported.settings |= {"train.optimizer.nesterov": True, "train.optimizer.momentum": 0.9}
    if kind is None:
        imported.choices["train/optimizer"] = "pytorch_optimizer"
        imported.settings["train.optimizer.name"] = name
        imported.decided.append(f"{name} is taken from pytorch-optimizer: see train.optimizer.args")
    else:
        imported.choices["train/optimizer"] = kind
        if kind not in name.lower().replace("_", ""):
            imported.decided.append(f"train/optimizer={kind} for {name}")


def _optimizer_args(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    kind = imported.choices.get("train/optimizer") or OPTIMIZERS.get(str(given.get("optimizer_type", "adamw")).lower())
    for name, one in read_pairs(value).items():
        if kind in (None, "pytorch_optimizer"):
            imported.settings.setdefault("train.optimizer.args", {})[name] = read_literal(one)
        elif name in KINDS.settings(kind).model_fields:
            imported.settings[f"train.optimizer.{name}"] = read_literal(one)
        elif name != "decouple":  # weight decay is AdamW's always
            imported.leave(f"--optimizer_args {name}", one, f"train/optimizer={kind} has no such setting")


def _schedule(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    kind = SCHEDULES.get(str(value).lower())
    if given.get("lr_scheduler_type"):  # which counts before it
        return
    if kind is None:
        imported.leave("--lr_scheduler", value, "the rate is constant; train/scheduler=NAME chooses another")
        return
    if kind == "wsd" and not given.get("metadata") and not read_value(given.get("lr_decay_steps")):
        kind = "constant"
        imported.decided.append("train/scheduler=constant, for a warmup_stable_decay without --lr_decay_steps")
    imported.choices["train/scheduler"] = kind
    if kind == "wsd":
        imported.settings["train.scheduler.decay_shape"] = "cosine"


def _warmup(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    steps = read_value(value)
    fraction = isinstance(steps, float) and steps < 1
    imported.settings[f"train.scheduler.warmup_{'fraction' if fraction else 'steps'}"] = steps


def settle_adafactor(imported: Imported) -> None:
    """transformers' finds its rate itself, unless it is told not to."""
    settings, name = imported.settings, "train.optimizer."
    if imported.choices.get("train/optimizer") != "adafactor":
        return
    settings.setdefault(f"{name}scale_parameter", True)
    settings.setdefault(f"{name}relative_step", True)
    if settings.get(f"{name}warmup_init"):
        settings[f"{name}relative_step"] = True


def settle_warmup(imported: Imported, given: Mapping[str, Any]) -> None:
    """The schedule "constant" has none there, whatever is said."""
    warmups = [name for name in imported.settings if name.startswith("train.scheduler.warmup_")]
    named = given.get("lr_scheduler_type") or given.get("lr_scheduler", "constant")
    if str(named).lower() == "constant":
        for name in warmups:
            value = imported.settings.pop(name)
            imported.leave(f"--lr_warmup_{name.rpartition('_')[2]}", value, CONSTANT)


def settle_loss(imported: Imported, given: Mapping[str, Any]) -> None:
    """The schedule of Huber's delta where nothing is said; and weightings that are multiplied there."""
    settings = imported.settings
    if imported.choices.get("train/objective") in ("huber", "smooth_l1") and "huber_schedule" not in given:
        settings["train.objective.huber_schedule"] = "snr"
        imported.decided.append("train.objective.huber_schedule is snr, kohya's own where it is not given")
    if settings.get("train.objective.min_snr_gamma") and settings.pop("train.objective.debiased_estimation", None):
        imported.leave("--debiased_estimation_loss", True, "one weighting is taken: train.objective.min_snr_gamma")


def _precision(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.settings["train.trainer.precision"] = {"no": "fp32"}.get(str(value), str(value))


def _loss(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.choices["train/objective"] = LOSSES.get(str(value), "mse")


def _norm(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.settings["train.max_grad_norm"] = float(value) or None


def _epochs(setting: str) -> Converter:
    def convert(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
        count = read_value(value)
        imported.settings[setting] = f"{count} epoch{'s' if count != 1 else ''}"

    return convert


def _prompts(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    if not isinstance(value, list):
        imported.settings["train.samples.file"] = str(value)
        return
    # The GUI's are lines of such a file.
    imported.settings["train.samples.prompts"] = [line.partition(" --")[0].strip() for line in value]
    if any(" --" in line for line in value):
        imported.decided.append(
            "train.samples.prompts has the prompts alone: a file of them has their sizes and seeds, train.samples.file"
        )


def _huber(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    if given.get("loss_type", "l2") in ("huber", "smooth_l1"):
        imported.settings["train.objective.huber_delta"] = float(value)


def _only_with(other: str, setting: str) -> Converter:
    """Of what the program writes always, and heeds where another option is given."""

    def convert(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
        if read_value(given.get(other)) not in (None, 0, 0.0, "l2", "l1"):
            imported.settings[setting] = read_value(value)

    return convert


def _decay(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    steps, total = read_value(value), imported.settings.get("train.steps")
    if str(given.get("lr_scheduler")).lower() != "warmup_stable_decay" or (steps >= 1 and not total):
        imported.leave("--lr_decay_steps", value, "train.scheduler.decay_fraction, of train/scheduler=wsd")
    else:
        imported.settings["train.scheduler.decay_fraction"] = steps if steps < 1 else min(1.0, steps / total)


def _last(unit: str) -> Converter:
    """sd-scripts keeps what is no older than so many steps or epochs; here it is a number of files."""

    def convert(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
        every = read_value(given.get(f"save_every_n_{unit}"))
        if every:
            imported.settings["train.keep_last"] = max(1, math.ceil(read_value(value) / every))

    return convert


def _tracker(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    kind = "wandb" if value == "all" else str(value)
    if kind in ("wandb", "tensorboard"):
        imported.choices["train/tracker"] = kind
    else:
        imported.leave("--log_with", value, "train/tracker is wandb, tensorboard or csv")


def _format(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    if value != "safetensors":
        imported.leave("--save_model_as", value, "always .safetensors, which holds no code")


def _file_precision(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.settings["export.precision"] = {"float": "fp32"}.get(str(value), str(value))


def _masked(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    """Alone it does nothing there."""
    if not any(given.get(name) for name in ("alpha_mask", "conditioning_data_dir", "dataset_config")):
        imported.leave("--masked_loss", value, "nothing here names masks: import the dataset config that does")


def _alpha_masks(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    # Where a picture has both, sd-scripts takes the file.
    kind = "auto" if given.get("conditioning_data_dir") else "alpha"
    imported.settings |= {"prepare.masks": kind, "train.objective.unmasked_weight": 0.0}


def _mask_folder(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.settings |= {"train.objective.unmasked_weight": 0.0}
    imported.settings.setdefault("prepare.masks", "files")
    imported.decided.append(f"the masks of {value} belong into `masks`, in the dataset's own folder")


def _fp8(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.settings["train.trainer.quantize"] = "fp8"


def _zero_snr(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    if given.get("v_parameterization"):
        imported.settings["train.objective.zero_terminal_snr"] = True
    else:
        imported.leave("--zero_terminal_snr", value, "a base that predicts epsilon has no answer to noise alone")


def _prior(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    """Of regularisation pictures, where there are some."""
    if given.get("reg_data_dir"):
        imported.settings["train.objective.prior_loss_weight"] = read_value(value)


CONVERTERS: dict[str, Converter] = {
    "optimizer_type": _optimizer,
    "optimizer_args": _optimizer_args,
    "lr_scheduler": _schedule,
    "lr_warmup_steps": _warmup,
    "mixed_precision": _precision,
    "loss_type": _loss,
    "huber_c": _huber,
    "huber_schedule": _only_with("loss_type", "train.objective.huber_schedule"),
    "huber_scale": _only_with("loss_type", "train.objective.huber_scale"),
    "multires_noise_discount": _only_with("multires_noise_iterations", "train.objective.multires_noise_discount"),
    "noise_offset_random_strength": _only_with("noise_offset", "train.objective.noise_offset_random"),
    "ip_noise_gamma_random_strength": _only_with("ip_noise_gamma", "train.objective.ip_noise_gamma_random"),
    "masked_loss": _masked,
    "alpha_mask": _alpha_masks,
    "conditioning_data_dir": _mask_folder,
    "lr_decay_steps": _decay,
    "save_precision": _file_precision,
    "save_last_n_steps": _last("steps"),
    "save_last_n_epochs": _last("epochs"),
    "save_state": ignore,
    "save_state_on_train_end": ignore,
    "log_with": _tracker,
    "mem_eff_attn": ignore,
    "max_grad_norm": _norm,
    "prior_loss_weight": _prior,
    "zero_terminal_snr": _zero_snr,
    "fp8_base": _fp8,
    "save_every_n_epochs": _epochs("train.save_every"),
    "sample_every_n_epochs": _epochs("train.samples.every"),
    "validate_every_n_epochs": _epochs("train.validation.every"),
    "sample_prompts": _prompts,
    "save_model_as": _format,
    "xformers": ignore,
    "sdpa": ignore,
    "output_dir": ignore,
    "logging_dir": ignore,
}
