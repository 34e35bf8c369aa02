"""OneTrainer's configs (.json), of its methods LoRA and embedding."""

from collections.abc import Callable, Mapping
from typing import Any

from lorakiln.tools.other_configs.captions import settle_captions, take_onetrainer_text
from lorakiln.tools.other_configs.imported import Imported, is_off, name_experiment, read_value
from lorakiln.tools.other_configs.onetrainer_words import take_words
from lorakiln.tools.other_configs.reading import OtherConfig

MODELS = {
    "STABLE_DIFFUSION_15": "sd15",
    "STABLE_DIFFUSION_20_BASE": "sd21",
    "STABLE_DIFFUSION_21_BASE": "sd21",
    "STABLE_DIFFUSION_20": "sd21_v",
    "STABLE_DIFFUSION_21": "sd21_v",
    "STABLE_DIFFUSION_XL_10_BASE": "sdxl",
}
ADAPTERS = {"LORA": "lora", "LOHA": "loha", "OFT_2": "oft"}
OPTIMIZERS = {
    "ADAMW": "adamw",
    "ADAM": "adamw",
    "ADAMW_8BIT": "adamw8bit",
    "ADAFACTOR": "adafactor",
    "LION": "lion",
    "PRODIGY": "prodigy",
    "DADAPT_ADAM": "dadapt_adam",
    "SCHEDULE_FREE_ADAMW": "schedule_free",
    "CAME": "came",
    "MUON": "muon",
    "SGD": "sgd",
}
SCHEDULES = {
    "CONSTANT": "constant",
    "LINEAR": "linear",
    "COSINE": "cosine",
    "COSINE_WITH_RESTARTS": "cosine_with_restarts",
    "COSINE_WITH_HARD_RESTARTS": "cosine_with_restarts",
    "REX": "rex",
}
PRECISIONS = {"FLOAT_32": "fp32", "FLOAT_16": "fp16", "BFLOAT_16": "bf16"}
UNMASKED = 0.1  # unmasked_weight where a config does not say it
# What means the same here, value and all.
SAME = {
    "base_model_name": "model.path",
    "lora_model_name": "train.adapter.init_from",
    "lora_rank": "train.adapter.rank",
    "lora_alpha": "train.adapter.alpha",
    "dropout_probability": "train.adapter.dropout",
    "epochs": "train.epochs",
    "learning_rate": "train.optimizer.lr",
    "clip_grad_norm": "train.max_grad_norm",
    "learning_rate_cycles": "train.scheduler.cycles",
    "learning_rate_min_factor": "train.scheduler.min_lr_ratio",
    "seed": "train.seed",
    "offset_noise_weight": "train.objective.noise_offset",
    "perturbation_noise_weight": "train.objective.ip_noise_gamma",
    "rescale_noise_scheduler_to_zero_terminal_snr": "train.objective.zero_terminal_snr",
    "ema_decay": "train.ema.decay",
}
# What decides nothing of the weights, or what happens here anyway.
QUIET = {
    "batch_size",
    "gradient_accumulation_steps",
    "training_method",
    "model_type",
    "output_model_destination",
    "workspace_dir",
    "cache_dir",
    "latent_caching",
    "peft_type",
    "train_dtype",
    "output_dtype",
    "weight_dtype",
    "fallback_train_dtype",
    "gradient_checkpointing",
    "only_cache",
    "aspect_ratio_bucketing",
    "compile",
    "dataloader_threads",
    "train_device",
    "temp_device",
    "tensorboard",
    "tensorboard_expose",
    "tensorboard_port",
    "tensorboard_always_on",
    "debug_mode",
    "debug_dir",
    "backup_after",
    "backup_after_unit",
    "rolling_backup",
    "rolling_backup_count",
    "backup_before_save",
    "continue_last_backup",
    "include_train_config",
    "output_model_format",
    "save_filename_prefix",
    "sample_definition_file_name",
    "concept_file_name",
    "samples_to_tensorboard",
    "non_ema_sampling",
    "clear_cache_before_training",
    "enable_async_offloading",
    "enable_activation_offloading",
    "masked_training",
    "unmasked_weight",
    "normalize_masked_area_loss",
    "layer_filter_regex",
    "layer_filter_preset",
    "ema",
    "loss_weight_fn",
    "loss_weight_strength",
    "force_epsilon_prediction",
    "force_v_prediction",
    "lora_decompose_norm_epsilon",
    "secrets",
    "__version",
    "learning_rate_warmup_steps",
    "embedding",
    "additional_embeddings",
    "embedding_learning_rate",
    "embedding_weight_dtype",
    "preserve_embedding_norm",
}


def translate(config: OtherConfig) -> Imported:
    """The experiment that a config asks for."""
    imported, options = Imported(), config.options
    model = MODELS.get(str(options.get("model_type")), "")
    if not model:
        imported.leave("model_type", options.get("model_type"), "no family that is trained here")
    imported.choices["model"] = model or "sd15"
    batch, times = (int(options.get(name) or 1) for name in ("batch_size", "gradient_accumulation_steps"))
    imported.settings["train.batch_size"] = batch * times
    if times > 1:
        imported.settings["train.micro_batch"] = batch
    for name, value in options.items():
        if name in QUIET or is_off(value):
            continue
        if convert := CONVERTERS.get(name):
            convert(imported, value)
        elif name in SAME:
            imported.settings[SAME[name]] = read_value(value)
        elif not isinstance(value, dict | list) and value not in (0, 0.0, 1.0):
            imported.leave(name, value, "no counterpart here")
    if weighting := options.get("loss_weight_fn"):
        _weighting(imported, weighting, options.get("loss_weight_strength"))
    for name in ("epsilon", "v"):
        if options.get(f"force_{name}_prediction"):
            imported.settings["model.prediction_type"] = {"v": "v_prediction"}.get(name, name)
    if not options.get("use_ema", options.get("ema") not in (None, "OFF")):
        imported.settings.pop("train.ema.decay", None)
    _masks(imported, options)
    encoders = [name for name in options if name.startswith("text_encoder") and isinstance(options[name], dict)]
    trained = [name for name in encoders if options[name].get("train")]
    if trained:
        imported.train_encoders([options[name].get("learning_rate") for name in trained])
        imported.decided.append("train.parts has all text encoders of the base")
    take_words(imported, options)
    warmup = read_value(options.get("learning_rate_warmup_steps") or 0)
    if warmup:
        imported.settings[f"train.scheduler.warmup_{'fraction' if warmup < 1 else 'steps'}"] = warmup
    kind = ADAPTERS.get(str(options.get("peft_type", "LORA")))
    imported.choices["train/adapter"] = "dora" if options.get("lora_decompose") else kind or "lora"
    if kind is None:
        imported.leave(
            "peft_type", options["peft_type"], "no adapter that is trained here; a LoRA is, of the same rank"
        )
    if "train.adapter.targets" not in imported.settings and imported.settings.get("train.parts") != []:
        imported.settings["train.adapter.targets"] = "locon"
        imported.decided.append("train.adapter.targets is locon: OneTrainer adapts every layer")
    precision = PRECISIONS.get(str(options.get("train_dtype")))
    if precision:
        imported.settings["train.trainer.precision"] = precision
    if str(options.get("gradient_checkpointing", "OFF")) != "OFF":
        imported.settings["train.trainer.gradient_checkpointing"] = True
    return imported


def _optimizer(imported: Imported, value: Any) -> None:
    name = str(value.get("optimizer")) if isinstance(value, dict) else str(value)
    kind = OPTIMIZERS.get(name)
    if kind is None:
        imported.leave("optimizer", name, "no optimizer of ours by that name: docs/training.md")
        return
    imported.choices["train/optimizer"] = kind
    given = value if isinstance(value, dict) else {}
    if given.get("weight_decay") is not None and kind in ("adamw", "adamw8bit", "lion", "prodigy"):
        imported.settings["train.optimizer.weight_decay"] = given["weight_decay"]


def _schedule(imported: Imported, value: Any) -> None:
    if kind := SCHEDULES.get(str(value)):
        imported.choices["train/scheduler"] = kind
    else:
        imported.leave("learning_rate_scheduler", value, "the rate is constant; train/scheduler=NAME chooses another")


def _resolution(imported: Imported, value: Any) -> None:
    first = str(value).split(",")[0]
    if "x" in first or not first.strip().isdigit():
        imported.leave("resolution", value, "prepare.resolution is one number of pixels")
        return
    imported.settings["prepare.resolution"] = int(first)
    if "," in str(value):
        imported.leave("resolution", value, f"one resolution is trained at: {first.strip()}")


def _filter(imported: Imported, value: Any) -> None:
    patterns = [part.strip() for part in str(value).split(",") if part.strip()]
    if patterns:
        imported.settings["train.adapter.targets"] = [f"*{pattern}*" for pattern in patterns]


def _weighting(imported: Imported, value: Any, strength: Any) -> None:
    known = {
        "MIN_SNR_GAMMA": ("train.objective.min_snr_gamma", 5.0),
        "DEBIASED_ESTIMATION": ("train.objective.debiased_estimation", True),
        "P2": ("train.objective.p2_gamma", 1.0),
    }
    if str(value) in known:
        setting, usual = known[str(value)]
        imported.settings[setting] = usual if usual is True else float(strength or usual)
    elif str(value) != "CONSTANT":
        imported.leave("loss_weight_fn", value, "no weighting of that name here")


def _masks(imported: Imported, options: Mapping[str, Any]) -> None:
    """Files beside the pictures, a-masklabel.png, which are known by their names."""
    if not options.get("masked_training"):
        return
    weight = options.get("unmasked_weight")
    imported.settings["prepare.masks"] = "files"
    imported.settings["train.objective.unmasked_weight"] = UNMASKED if weight is None else float(weight)
    if options.get("normalize_masked_area_loss") and imported.settings["train.objective.unmasked_weight"] < 1:
        imported.settings["train.objective.normalize_masked_area"] = True


def _concepts(imported: Imported, value: Any) -> None:
    used = [one for one in value if isinstance(one, dict) and one.get("path") and one.get("enabled", True)]
    paths = [one["path"] for one in used]
    if not paths:
        return
    take_onetrainer_text(imported, used[0].get("text") or {})
    settle_captions(imported)
    name = name_experiment(str(paths[0]).replace("\\", "/").rstrip("/").rpartition("/")[2])
    imported.settings["prepare.dataset"] = name
    imported.decided.append(f"the pictures of {paths[0]} belong into data/raw/{name}")
    for other in paths[1:]:
        imported.leave("concepts", other, "one folder of pictures is trained on")


CONVERTERS: dict[str, Callable[[Imported, Any], None]] = {
    "optimizer": _optimizer,
    "learning_rate_scheduler": _schedule,
    "resolution": _resolution,
    "layer_filter": _filter,
    "concepts": _concepts,
}
