"""ai-toolkit's configs (.yaml), of its job "extension" with a LoRA."""

from typing import Any

from lorakiln.tools.other_configs.captions import settle_captions, take_ai_toolkit_captions
from lorakiln.tools.other_configs.imported import Imported, is_off, name_experiment, read_value
from lorakiln.tools.other_configs.reading import OtherConfig

OPTIMIZERS = {
    "adamw": "adamw",
    "adamw8bit": "adamw8bit",
    "adam": "adamw",
    "adam8bit": "adamw8bit",
    "lion": "lion",
    "adafactor": "adafactor",
    "prodigy": "prodigy",
    "prodigyopt": "prodigy",
    "dadaptation": "dadapt_adam",
}
# What means the same here, value and all, by section.
SAME = {
    "network.linear": "train.adapter.rank",
    "network.linear_alpha": "train.adapter.alpha",
    "network.dropout": "train.adapter.dropout",
    "train.steps": "train.steps",
    "train.lr": "train.optimizer.lr",
    "train.gradient_checkpointing": "train.trainer.gradient_checkpointing",
    "train.max_grad_norm": "train.max_grad_norm",
    "train.noise_offset": "train.objective.noise_offset",
    "train.min_snr_gamma": "train.objective.min_snr_gamma",
    "save.save_every": "train.save_every",
    "save.max_step_saves_to_keep": "train.keep_last",
    "sample.sample_every": "train.samples.every",
    "sample.guidance_scale": "train.samples.guidance",
    "sample.sample_steps": "train.samples.steps",
    "sample.prompts": "train.samples.prompts",
    "model.name_or_path": "model.path",
}
PRECISIONS = {"float16": "fp16", "fp16": "fp16", "bf16": "bf16", "bfloat16": "bf16", "fp32": "fp32", "float32": "fp32"}
# What decides nothing of the weights, or what happens here anyway.
QUIET = {
    "network.type",
    "network.conv",
    "network.conv_alpha",
    "save.push_to_hub",
    "train.batch_size",
    "train.optimizer",
    "train.dtype",
    "train.train_unet",
    "train.gradient_accumulation",
    "train.gradient_accumulation_steps",
    "train.ema_config",
    "train.optimizer_params",
    "train.noise_scheduler",
    "train.lr_scheduler",
    "train.skip_first_sample",
    "train.disable_sampling",
    "sample.width",
    "sample.height",
    "sample.walk_seed",
    "sample.sampler",
    "sample.seed",
    "sample.neg",
    "model.is_xl",
    "model.is_v2",
    "model.is_v_pred",
    "model.quantize",
    "model.arch",
}


def translate(config: OtherConfig) -> Imported:
    """The experiment that a config asks for."""
    imported, process = Imported(), config.options
    sections = {name: process.get(name) or {} for name in ("network", "save", "train", "sample", "model")}
    network, train, model = sections["network"], sections["train"], sections["model"]
    arch = str(model.get("arch", ""))
    if model.get("is_flux") or arch not in ("", "sd1", "sd15", "sd2", "sdxl"):
        imported.leave("model.arch", arch or "flux", "no family that is trained here")
    v2 = "sd21_v" if model.get("is_v_pred") else "sd21"
    xl, second = model.get("is_xl") or arch == "sdxl", model.get("is_v2") or arch == "sd2"
    imported.choices["model"] = "sdxl" if xl else v2 if second else "sd15"
    kind = {"lora": "lora", "lokr": "lokr", "dora": "dora"}.get(str(network.get("type", "lora")))
    imported.choices["train/adapter"] = kind or "lora"
    if kind is None:
        imported.leave("network.type", network["type"], "no adapter that is trained here; a LoRA is, of the same rank")
    imported.settings["train.adapter.targets"] = "locon" if network.get("conv") else "kohya"
    for name, setting in (("conv", "rank_pattern"), ("conv_alpha", "alpha_pattern")):
        if network.get(name) and network[name] != network.get(f"linear{name.removeprefix('conv')}"):
            ends = ("conv1", "conv2", "downsamplers.0.conv", "upsamplers.0.conv")
            imported.settings[f"train.adapter.{setting}"] = dict.fromkeys(ends, network[name])
    for section, options in sections.items():
        for name, value in options.items():
            path = f"{section}.{name}"
            if path in SAME and not is_off(value):
                imported.settings[SAME[path]] = read_value(value)
            elif path not in QUIET and not is_off(value):
                imported.leave(path, value, "no counterpart here")
    _take_training(imported, train, sections)
    _take_datasets(imported, process.get("datasets") or [])
    if trigger := process.get("trigger_word"):
        imported.settings["caption.trigger"] = str(trigger)
    if named := process.get("name"):
        imported.settings["export.name"] = str(named)
    for other in process.get("others", []):
        imported.leave("config.process", other.get("type", "another"), "the first process is taken")
    return imported


def _take_training(imported: Imported, train: dict[str, Any], sections: dict[str, dict[str, Any]]) -> None:
    batch = int(train.get("batch_size", 1))
    times = int(train.get("gradient_accumulation_steps", train.get("gradient_accumulation", 1)) or 1)
    imported.settings["train.batch_size"] = batch * times
    if times > 1:
        imported.settings["train.micro_batch"] = batch
    optimizer = str(train.get("optimizer", "adamw")).lower()
    if optimizer in OPTIMIZERS:
        imported.choices["train/optimizer"] = OPTIMIZERS[optimizer]
    else:
        imported.leave("train.optimizer", optimizer, "no optimizer of ours by that name: docs/training.md")
    for name, value in (train.get("optimizer_params") or {}).items():
        if name == "weight_decay":
            imported.settings["train.optimizer.weight_decay"] = value
        else:
            imported.leave(
                f"train.optimizer_params.{name}", value, "see the optimizer's own settings: docs/training.md"
            )
    if precision := PRECISIONS.get(str(train.get("dtype"))):
        imported.settings["train.trainer.precision"] = precision
    average = train.get("ema_config") or {}
    if average.get("use_ema"):
        imported.settings["train.ema.decay"] = average.get("ema_decay", 0.99)
    if train.get("train_text_encoder"):
        imported.train_encoders(train.get("text_encoder_lr"))
    if sections["model"].get("quantize"):
        imported.settings["train.trainer.quantize"] = "int8"
        imported.decided.append("train.trainer.quantize is int8, for model.quantize")
    sample = sections["sample"]
    if "seed" in sample:
        imported.settings["train.samples.seeds"] = [int(sample["seed"])]
    if train.get("disable_sampling"):
        imported.settings["train.samples.every"] = 0
    if schedule := train.get("lr_scheduler"):
        imported.choices["train/scheduler"] = {"constant_with_warmup": "constant"}.get(str(schedule), str(schedule))


def _take_datasets(imported: Imported, datasets: list[dict[str, Any]]) -> None:
    if not datasets:
        return
    first = datasets[0]
    folder = str(first.get("folder_path", "pictures"))
    name = name_experiment(folder.replace("\\", "/").rstrip("/").rpartition("/")[2])
    imported.settings["prepare.dataset"] = name
    imported.decided.append(f"the pictures of {folder} belong into data/raw/{name}")
    if ending := first.get("caption_ext"):
        imported.settings["caption.extensions"] = [f".{str(ending).lstrip('.')}"]
    if rate := first.get("caption_dropout_rate"):
        imported.settings["train.objective.caption_dropout"] = rate
    if first.get("flip_x"):
        imported.settings["encode.flip"] = True
    if repeats := first.get("num_repeats"):
        imported.settings["train.repeats"] = repeats
    sizes = first.get("resolution") or []
    sizes = sizes if isinstance(sizes, list) else [sizes]
    if sizes:
        imported.settings["prepare.resolution"] = max(sizes)
        if len(sizes) > 1:
            imported.leave("datasets.resolution", sizes, f"one resolution is trained at: {max(sizes)}")
    captions = take_ai_toolkit_captions(imported, first)
    settle_captions(imported)
    known = (
        "folder_path caption_ext caption_dropout_rate resolution flip_x num_repeats cache_latents_to_disk cache_latents"
    )
    for key, value in first.items():
        if key not in (*known.split(), *captions) and not is_off(value):
            imported.leave(f"datasets.{key}", value, "no counterpart here")
    for other in datasets[1:]:
        imported.leave("datasets", other.get("folder_path"), "one folder of pictures is trained on")
