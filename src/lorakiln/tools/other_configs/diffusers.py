"""Command lines of diffusers' LoRA training scripts."""

from collections.abc import Callable, Mapping
from typing import Any

from lorakiln.schema.other_trainers.diffusers import SECTIONS
from lorakiln.tools.other_configs.imported import Imported, index_options, is_off, name_experiment, read_value
from lorakiln.tools.other_configs.reading import OtherConfig
from lorakiln.tools.other_configs.words_alone import SCRIPTS, pop_words, take_words_alone

OPTIONS = index_options(SECTIONS)
# What the scripts do where an option is not given, and we do otherwise.
RANK = 4
BATCH, EPOCHS = {"text_to_image": 16, "dreambooth": 4, SCRIPTS: 16}, {"text_to_image": 100, "dreambooth": 1}
STEPS = 5000  # of textual inversion
WARMUP = 500  # of every schedule but the constant one, which has none whatever is said
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
    sort = next((sort for sort in BATCH if sort in config.script), "dreambooth")
    words = pop_words(given) if sort == SCRIPTS else None
    batch = int(read_value(given.pop("train_batch_size", BATCH[sort])))
    times = int(read_value(given.pop("gradient_accumulation_steps", 1)))
    imported.settings["train.batch_size"] = batch * times
    if times > 1:
        imported.settings["train.micro_batch"] = batch
        imported.decided.append(f"train.batch_size is {batch} x {times}: accumulation is part of it")
    plain = config.script == "train_dreambooth_lora"  # the oldest, whose rate and weight decay are others
    imported.settings["train.optimizer.lr"] = float(read_value(given.pop("learning_rate", 5e-4 if plain else 1e-4)))
    if sort == "dreambooth" and not plain:
        imported.settings["train.optimizer.weight_decay"] = 1e-4
    if given.pop("scale_lr", False):
        imported.settings["train.optimizer.lr"] *= batch * times
        imported.decided.append(
            f"train.optimizer.lr is {batch * times} times what is said, for --scale_lr on one device"
        )
    if sort == SCRIPTS and "num_train_epochs" not in given:
        given.setdefault("max_train_steps", STEPS)
    _take_length(imported, given, EPOCHS.get(sort, 1))
    _take_warmup(imported, given)
    if given.get("train_text_encoder"):
        finds = str(given.get("optimizer")).lower() == "prodigy"
        own = None if plain or finds else 5e-6
        imported.train_encoders(given.pop("text_encoder_lr", own))
    _take_classes(imported, given)
    imported.decided.append(
        "prepare.bucket.enable is true: pictures keep their shapes; false crops them square, as there"
    )
    if "random_flip" not in given:
        imported.settings["encode.flip"] = False
    for name, value in given.items():
        if convert := CONVERTERS.get(name):
            convert(imported, value, given)
        elif option := OPTIONS.get(name):
            imported.take(f"--{name}", value, option)
        else:
            imported.leave(f"--{name}", value, "no option of diffusers' scripts that is known here")
    if words is not None:
        take_words_alone(imported, words)
    return imported


def _take_length(imported: Imported, given: dict[str, Any], epochs: int) -> None:
    if "max_train_steps" in given:
        given.pop("num_train_epochs", None)
    elif "num_train_epochs" not in given:
        imported.settings["train.epochs"] = epochs
        imported.decided.append(f"train.epochs is {epochs}, the script's own where no length is given")


def _take_warmup(imported: Imported, given: dict[str, Any]) -> None:
    steps = given.pop("lr_warmup_steps", None)
    if str(given.get("lr_scheduler", "constant")) == "constant":
        if steps is not None and read_value(steps):
            imported.leave("--lr_warmup_steps", steps, "the schedule constant has none; constant_with_warmup has")
        return
    imported.settings["train.scheduler.warmup_steps"] = WARMUP if steps is None else int(read_value(steps))
    if steps is None:
        imported.decided.append(f"train.scheduler.warmup_steps is {WARMUP}, the script's own where it is not given")


def _take_classes(imported: Imported, given: dict[str, Any]) -> None:
    """Pictures of the class, for which folders have names that say what they are."""
    names = ("class_data_dir", "class_prompt", "num_class_images", "prior_loss_weight")
    classes = {name: given.pop(name, None) for name in names}
    if not given.pop("with_prior_preservation", False):
        for name, value in classes.items():
            if value is not None:
                imported.leave(f"--{name}", value, "it says nothing there without --with_prior_preservation")
        return
    own = given.get("instance_prompt", "the words of yours")
    folder = classes["class_data_dir"] or "pictures of the class, which `lorakiln regularise` draws,"
    words = classes["class_prompt"] or "class"
    imported.decided.append(
        f"your pictures belong into `img/1_{own}`, and {folder} into `reg/1_{words}`, both in "
        "the dataset's own folder: what these are called are the captions (docs/datasets.md, kohya_tree)"
    )
    imported.settings["train.objective.prior_loss_weight"] = float(read_value(classes["prior_loss_weight"] or 1))


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


def _steps(setting: str) -> Callable[[Imported, Any, Mapping[str, Any]], None]:
    def convert(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
        imported.settings[setting] = int(read_value(value))

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
    # Of textual inversion alone.
    "validation_steps": _steps("train.samples.every"),
    "save_steps": _steps("train.save_every"),
    "save_as_full_pipeline": _quiet,
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
