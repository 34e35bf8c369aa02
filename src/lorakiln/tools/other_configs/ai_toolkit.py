"""ai-toolkit's configs (.yaml), of its job "extension" with a LoRA."""

import re
from collections.abc import Mapping
from typing import Any

from lorakiln.console.errors import UserError
from lorakiln.schema.optimizers import OPTIMIZERS as KINDS
from lorakiln.tools.other_configs.captions import settle_captions, take_ai_toolkit_captions
from lorakiln.tools.other_configs.imported import Imported, is_off, name_experiment, read_value
from lorakiln.tools.other_configs.optimizer_defaults import take_optimizer_defaults
from lorakiln.tools.other_configs.reading import OTHER_FAMILY, OtherConfig

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
    "network.pretrained_lora_path": "train.adapter.init_from",
    "network.dropout": "train.adapter.dropout",
    "train.steps": "train.steps",
    "train.gradient_checkpointing": "train.trainer.gradient_checkpointing",
    "train.max_grad_norm": "train.max_grad_norm",
    "train.noise_offset": "train.objective.noise_offset",
    "train.min_denoising_steps": "train.objective.min_timestep",
    "train.snr_gamma": "train.objective.min_snr_gamma",
    "train.min_snr_gamma": "train.objective.min_snr_gamma",
    "save.save_every": "train.save_every",
    "save.max_step_saves_to_keep": "train.keep_last",
    "sample.sample_every": "train.samples.every",
    "sample.guidance_scale": "train.samples.guidance",
    "sample.sample_steps": "train.samples.steps",
    "sample.prompts": "train.samples.prompts",
    "model.name_or_path": "model.path",
    "model.vae_path": "model.vae",
}
# What the program has where a config does not say it.
DEFAULTS: dict[str, dict[str, Any]] = {
    "train": {"lr": 1e-6, "gradient_checkpointing": True, "dtype": "fp32", "max_denoising_steps": 999},
    "network": {"lokr_full_rank": True},
}
RANK, ALPHA = 4, 1.0
PLACE = "[trigger]"  # of the trigger word
WITHOUT_POINT = re.compile(r"[+-]?\d{1,18}e[+-]?\d{1,3}", re.ASCII | re.IGNORECASE)
EPSILON = 1e-6  # of its Adams
WARMUP = 1000  # of constant_with_warmup
FINDING_RATES = ("prodigy", "dadapt_adam")  # of which it takes a rate below 0.1 for 1
PRECISIONS = {"float16": "fp16", "fp16": "fp16", "bf16": "bf16", "bfloat16": "bf16", "fp32": "fp32", "float32": "fp32"}
ADAPTERS = {"lora": "lora", "locon": "lora", "lokr": "lokr", "dora": "dora"}
CONVOLUTIONS = ("conv1", "conv2", "downsamplers.0.conv", "upsamplers.0.conv")
OTHER_FAMILIES = ("is_flux", "is_v3", "is_pixart", "is_pixart_sigma", "is_auraflow", "is_lumina2", "is_ssd", "is_vega")
# What decides nothing of the weights, or what happens here anyway.
QUIET = {
    "network.type",
    "network.rank",
    "network.linear",
    "network.alpha",
    "network.linear_alpha",
    "network.transformer_only",
    "network.lokr_full_rank",
    "network.lokr_factor",
    "sample.samples",
    "train.max_denoising_steps",
    "train.train_text_encoder",
    "train.timestep_type",  # of flow matching alone
    "train.unload_text_encoder",
    "train.cache_text_embeddings",
    "train.text_encoder_lr",
    "train.unet_lr",
    "network.conv",
    "network.conv_alpha",
    "save.push_to_hub",
    "save.dtype",
    "train.batch_size",
    "train.optimizer",
    "train.lr",
    "train.dtype",
    "train.train_unet",
    "train.gradient_accumulation",
    "train.gradient_accumulation_steps",
    "train.ema_config",
    "train.optimizer_params",
    "train.noise_scheduler",
    "train.lr_scheduler",
    "train.lr_scheduler_params",
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
TRAINERS = ("sd_trainer", "ui_trainer", "diffusion_trainer")
# Of a process: what is read, and what decides nothing of the weights.
READ = {
    *("network", "save", "train", "sample", "model", "datasets", "trigger_word", "name", "others", "type"),
    *("device", "training_folder", "sqlite_db_path", "performance_log_every", "log_dir", "logging", "meta"),
}
# With these values they say nothing.
NEUTRAL = {"train.content_or_style": "balanced", "save.save_format": "safetensors"}
OF_DATASETS = {
    "folder_path",
    "caption_ext",
    "caption_dropout_rate",
    "resolution",
    "flip_x",
    "num_repeats",
    "cache_latents",
    "cache_latents_to_disk",
    "cache_text_embeddings",
    "buckets",
    "bucket_tolerance",
    "alpha_mask",
}


def translate(config: OtherConfig) -> Imported:
    """The experiment that a config asks for."""
    imported, process = Imported(), config.options
    given = {name: process.get(name) or {} for name in ("network", "save", "train", "sample", "model")}
    sections = {name: {**DEFAULTS.get(name, {}), **_read_numbers(one)} for name, one in given.items()}
    network, train = sections["network"], sections["train"]
    imported.choices["model"] = _find_model(sections["model"])
    _take_network(imported, network)
    for section, options in sections.items():
        for name, value in options.items():
            path = f"{section}.{name}"
            if path in SAME and not is_off(value):
                imported.settings[SAME[path]] = read_value(value)
            elif path not in QUIET and not is_off(value) and value != NEUTRAL.get(path):
                imported.leave(path, value, "no counterpart here")
    _take_training(imported, train, sections)
    _take_datasets(imported, process.get("datasets") or [])
    if trigger := process.get("trigger_word"):
        _take_trigger(imported, str(trigger))
    if named := process.get("name"):
        imported.settings["export.name"] = str(named)
    _leave_the_rest(imported, process)
    for other in process.get("others", []):
        imported.leave("config.process", other.get("type", "another"), "the first process is taken")
    return imported


def _leave_the_rest(imported: Imported, process: Mapping[str, Any]) -> None:
    """Tell what beside its sections a process has, and a kind of process that does not train an adapter as such."""
    if (kind := str(process.get("type", TRAINERS[0]))) not in TRAINERS:
        imported.leave("type", kind, "no kind of training here; its network is trained as a LoRA is")
    for name, value in process.items():
        if name in READ or is_off(value):
            continue
        why = "new words are train.tokens: docs/training.md" if name == "embedding" else "no counterpart here"
        imported.leave(name, ", ".join(map(str, value)) if isinstance(value, dict) else value, why)


def _take_trigger(imported: Imported, trigger: str) -> None:
    """The word, which also stands for `[trigger]` in captions and in the prompts of samples."""
    imported.settings["caption.trigger"] = trigger
    rule = {"do": "replace", "pattern": re.escape(PLACE), "by": trigger.replace("\\", "\\\\")}
    imported.settings["caption.rules"] = [rule]
    imported.decided.append(f"caption.rules has {trigger!r} in the place of {PLACE} in captions, as there")
    if prompts := imported.settings.get("train.samples.prompts"):
        imported.settings["train.samples.prompts"] = [str(prompt).replace(PLACE, trigger) for prompt in prompts]


def _read_numbers(value: Any) -> Any:
    """A section with `lr: 1e-4` as the number that it is there: YAML itself takes it for a text."""
    if isinstance(value, dict):
        return {name: _read_numbers(one) for name, one in value.items()}
    return float(value) if isinstance(value, str) and WITHOUT_POINT.fullmatch(value) else value


def _find_model(model: dict[str, Any]) -> str:
    arch = str(model.get("arch") or "")
    others = [name for name in OTHER_FAMILIES if model.get(name)]
    if others or arch not in ("", "sd1", "sd15", "sd2", "sdxl"):
        fix = "give a config for Stable Diffusion 1.x, 2.x or XL"
        raise UserError(f"model.{'arch ' + arch if arch else others[0]} is of {OTHER_FAMILY}", fix=fix)
    if model.get("is_xl") or arch == "sdxl":
        return "sdxl"
    if model.get("is_v2") or arch == "sd2":
        return "sd21_v" if model.get("is_v_pred") else "sd21"
    return "sd15"


def _take_network(imported: Imported, network: dict[str, Any]) -> None:
    kind = {"lora": "lora", "locon": "lora", "lokr": "lokr", "dora": "dora"}.get(
        str(network.get("type", "lora")).lower()
    )
    imported.choices["train/adapter"] = kind or "lora"
    if kind is None:
        imported.leave("network.type", network["type"], "no adapter that is trained here; a LoRA is, of the same rank")
    rank = network.get("rank", network.get("linear", RANK))
    alpha = network.get("linear_alpha", network.get("alpha", ALPHA))
    imported.settings |= {"train.adapter.targets": "locon" if network.get("conv") else "kohya"}
    if kind == "lokr":
        imported.settings["train.adapter.factor"] = network.get("lokr_factor", -1)
        if network["lokr_full_rank"]:
            imported.settings["train.adapter.full_matrix"] = True
            return
    imported.settings |= {"train.adapter.rank": rank, "train.adapter.alpha": alpha}
    if "linear_alpha" not in network and "alpha" not in network:
        imported.decided.append(f"train.adapter.alpha is {ALPHA:g}, ai-toolkit's own where linear_alpha is not given")
    conv = {"rank_pattern": network.get("conv"), "alpha_pattern": network.get("conv_alpha", network.get("conv"))}
    for name, usual in (("rank_pattern", rank), ("alpha_pattern", alpha)):
        if conv[name] and conv[name] != usual:
            imported.settings[f"train.adapter.{name}"] = dict.fromkeys(CONVOLUTIONS, conv[name])


def _take_training(imported: Imported, train: dict[str, Any], sections: dict[str, dict[str, Any]]) -> None:
    batch = int(train.get("batch_size", 1))
    times = int(train.get("gradient_accumulation_steps", train.get("gradient_accumulation", 1)) or 1)
    imported.settings["train.batch_size"] = batch * times
    if times > 1:
        imported.settings["train.micro_batch"] = batch
    optimizer = str(train.get("optimizer", "adamw")).lower()
    rate = train.get("unet_lr", train["lr"])
    imported.settings["train.optimizer.lr"] = rate
    if optimizer in OPTIMIZERS:
        kind = imported.choices["train/optimizer"] = OPTIMIZERS[optimizer]
        if kind in FINDING_RATES and rate < 0.1:
            imported.settings["train.optimizer.lr"] = 1.0
            imported.decided.append(f"train.optimizer.lr is 1, as there for a rate below 0.1 of {optimizer}: {rate}")
        if kind in ("adamw", "adamw8bit", *FINDING_RATES):
            imported.settings["train.optimizer.eps"] = EPSILON
    else:
        imported.leave("train.optimizer", optimizer, "no optimizer of ours by that name: docs/training.md")
    fields = KINDS.settings(imported.choices.get("train/optimizer", "adamw")).model_fields
    for name, value in (train.get("optimizer_params") or {}).items():
        if name in fields:
            imported.settings[f"train.optimizer.{name}"] = value
        else:
            imported.leave(
                f"train.optimizer_params.{name}", value, "see the optimizer's own settings: docs/training.md"
            )
    take_optimizer_defaults(imported)
    if train["max_denoising_steps"] != 999:
        imported.settings["train.objective.max_timestep"] = train["max_denoising_steps"] + 1
    if precision := PRECISIONS.get(str(train.get("dtype"))):
        imported.settings["train.trainer.precision"] = precision
    if precision := PRECISIONS.get(str(sections["save"].get("dtype"))):
        imported.settings["export.precision"] = precision
    average = train.get("ema_config") or {}
    if average.get("use_ema"):
        imported.settings["train.ema.decay"] = average.get("ema_decay", 0.99)
    if train.get("train_text_encoder"):
        finds = imported.choices.get("train/optimizer") in FINDING_RATES
        own = train.get("text_encoder_lr", None if finds else train["lr"])
        imported.train_encoders(own, denoiser=train.get("train_unet", True))
    if sections["model"].get("quantize"):
        imported.settings["train.trainer.quantize"] = "int8"
        imported.decided.append("train.trainer.quantize is int8, for model.quantize")
    sample = sections["sample"]
    if listed := sample.get("samples"):
        imported.settings["train.samples.prompts"] = [str(one["prompt"]) for one in listed if one.get("prompt")]
    if "seed" in sample:
        imported.settings["train.samples.seeds"] = [int(sample["seed"])]
    if train.get("disable_sampling"):
        imported.settings["train.samples.every"] = 0
    _take_schedule(imported, train)


def _take_schedule(imported: Imported, train: dict[str, Any]) -> None:
    """torch's schedules, of which the cosine has a warm-up, and of diffusers' the one that is a warm-up alone."""
    kind, params = str(train.get("lr_scheduler") or "constant"), dict(train.get("lr_scheduler_params") or {})
    if kind == "constant_with_warmup":
        imported.choices["train/scheduler"] = "constant"
        imported.settings["train.scheduler.warmup_steps"] = int(params.pop("num_warmup_steps", WARMUP))
        if "num_warmup_steps" not in (train.get("lr_scheduler_params") or {}):
            imported.decided.append(f"train.scheduler.warmup_steps is {WARMUP}, ai-toolkit's own where it is not given")
    elif kind == "linear":
        why = "it rises there from a third of the rate to all of it (torch's LinearLR); the rate stays the same here"
        imported.leave("train.lr_scheduler", kind, why)
    else:
        imported.choices["train/scheduler"] = kind
    if kind == "cosine" and (warm_up := int(params.pop("num_warmup_steps", 0))):
        imported.settings["train.scheduler.warmup_steps"] = warm_up
    if kind == "cosine" and (lowest := params.pop("eta_min", 0)):
        imported.settings["train.scheduler.min_lr_ratio"] = float(lowest) / train.get("unet_lr", train["lr"])
    for name, value in params.items():
        imported.leave(f"train.lr_scheduler_params.{name}", value, "see the schedule's own settings: docs/training.md")


def _take_datasets(imported: Imported, datasets: list[dict[str, Any]]) -> None:
    if not datasets:
        return
    first = datasets[0]
    folder = str(first.get("folder_path", "pictures"))
    name = name_experiment(folder.replace("\\", "/").rstrip("/").rpartition("/")[2])
    imported.settings["prepare.dataset"] = name
    imported.decided.append(f"the pictures of {folder} belong into data/raw/{name}")
    if tolerance := first.get("bucket_tolerance"):
        imported.settings["prepare.bucket.step"] = tolerance
    if ending := first.get("caption_ext"):
        imported.settings["caption.extensions"] = [f".{str(ending).lstrip('.')}"]
    if rate := first.get("caption_dropout_rate"):
        imported.settings["train.objective.caption_dropout"] = rate
    if first.get("flip_x"):
        imported.settings["encode.flip"] = True
    if not first.get("buckets", True):
        imported.settings["prepare.bucket.enable"] = False
    if first.get("alpha_mask"):
        imported.settings |= {"prepare.masks": "alpha", "train.objective.unmasked_weight": 0.0}
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
    for key, value in first.items():
        if key not in (*OF_DATASETS, *captions) and not is_off(value):
            imported.leave(f"datasets.{key}", value, "no counterpart here")
    for other in datasets[1:]:
        imported.leave("datasets", other.get("folder_path"), "one folder of pictures is trained on")
