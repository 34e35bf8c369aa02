"""Command lines of diffusers' LoRA training scripts."""

from collections.abc import Callable, Mapping
from typing import Any

from lorakiln.schema.other_trainers.diffusers import SECTIONS
from lorakiln.tools.other_configs.imported import Imported, index_options, is_off, name_experiment, read_value
from lorakiln.tools.other_configs.reading import OtherConfig

OPTIONS = index_options(SECTIONS)
# What the scripts do where an option is not given, and we do otherwise.
RANK, BATCH, RATE = 4, {"train_text_to_image_lora": 16, "train_text_to_image_lora_sdxl": 16}, 1e-4
SCHEDULES = {"constant_with_warmup": "constant"}


def translate(config: OtherConfig) -> Imported:
    """The experiment that a command line asks for."""
    imported = Imported()
    given = {name: value for name, value in config.options.items() if not is_off(value)}
    xl = "sdxl" in config.script or "xl" in str(given.get("pretrained_model_name_or_path", "")).lower()
    imported.choices["model"] = "sdxl" if xl else "sd15"
    imported.decided.append(f"model={imported.choices['model']}, by the script's name")
    rank = int(read_value(given.get("rank", RANK)))
    # The scripts' lora_alpha is the rank.
    imported.settings |= {"train.adapter.rank": rank, "train.adapter.alpha": rank}
    batch = int(read_value(given.pop("train_batch_size", BATCH.get(config.script, 4))))
    times = int(read_value(given.pop("gradient_accumulation_steps", 1)))
    imported.settings["train.batch_size"] = batch * times
    if times > 1:
        imported.settings["train.micro_batch"] = batch
        imported.decided.append(f"train.batch_size is {batch} x {times}: accumulation is part of it")
    imported.settings["train.optimizer.lr"] = float(read_value(given.pop("learning_rate", RATE)))
    if "max_train_steps" in given:
        given.pop("num_train_epochs", None)
    if given.get("train_text_encoder"):
        imported.train_encoders(given.pop("text_encoder_lr", None))
    if "random_flip" not in given:
        imported.settings["encode.flip"] = False
    for name, value in given.items():
        if convert := CONVERTERS.get(name):
            convert(imported, value, given)
        elif option := OPTIONS.get(name):
            imported.take(f"--{name}", value, option)
        else:
            imported.leave(f"--{name}", value, "no option of diffusers' scripts that is known here")
    return imported


def _folder(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    name = name_experiment(str(value).rstrip("/\\").replace("\\", "/").rpartition("/")[2])
    imported.settings["prepare.dataset"] = name
    imported.decided.append(f"the pictures of {value} belong into data/raw/{name}")


def _optimizer(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    eight = str(value).lower() == "adamw" and given.get("use_8bit_adam")
    imported.choices["train/optimizer"] = "adamw8bit" if eight else str(value).lower()


def _eight_bit(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.choices.setdefault("train/optimizer", "adamw8bit")


def _schedule(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.choices["train/scheduler"] = SCHEDULES.get(str(value), str(value))


def _beta(place: int) -> Callable[[Imported, Any, Mapping[str, Any]], None]:
    def convert(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
        betas = imported.settings.setdefault("train.optimizer.betas", [0.9, 0.999])
        betas[place] = float(value)

    return convert


def _precision(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.settings["train.trainer.precision"] = {"no": "fp32"}.get(str(value), str(value))


def _clip_skip(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.settings["encode.clip_skip"] = int(value) + 1  # from 0 there


def _prompt(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.settings["train.samples.prompts"] = [str(value)]


def _pictures(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    imported.settings["train.samples.seeds"] = list(range(int(value)))


def _epochs(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    count = read_value(value)
    imported.settings["train.samples.every"] = f"{count} epoch{'s' if count != 1 else ''}"


def _report(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    if value in ("wandb", "tensorboard"):
        imported.choices["train/tracker"] = str(value)
    else:
        imported.leave("--report_to", value, "train/tracker is wandb, tensorboard or csv")


def _hub(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    if not given.get("hub_model_id"):
        imported.leave("--push_to_hub", value, "name where: export.push_to_hub=OWNER/NAME")


def _quiet(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    """What is told elsewhere, or is what happens here anyway."""


CONVERTERS: dict[str, Callable[[Imported, Any, Mapping[str, Any]], None]] = {
    "rank": _quiet,
    "train_text_encoder": _quiet,
    "train_data_dir": _folder,
    "instance_data_dir": _folder,
    "optimizer": _optimizer,
    "use_8bit_adam": _eight_bit,
    "lr_scheduler": _schedule,
    "adam_beta1": _beta(0),
    "adam_beta2": _beta(1),
    "mixed_precision": _precision,
    "clip_skip": _clip_skip,
    "validation_prompt": _prompt,
    "num_validation_images": _pictures,
    "validation_epochs": _epochs,
    "report_to": _report,
    "push_to_hub": _hub,
    "enable_npu_flash_attention": _quiet,
    "output_dir": _quiet,
    "logging_dir": _quiet,
    "output_kohya_format": _quiet,
    "cache_latents": _quiet,
    "center_crop": _quiet,
    "enable_xformers_memory_efficient_attention": _quiet,
    "local_rank": _quiet,
}
