"""OneTrainer's configs (.json), of its methods LoRA and embedding."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from lorakiln.console.errors import UserError
from lorakiln.tools.other_configs.captions import settle_captions, take_onetrainer_text
from lorakiln.tools.other_configs.imported import Imported, is_off, name_experiment, read_value
from lorakiln.tools.other_configs.onetrainer_training import (
    OPTIMIZER_DEFAULTS,
    take_loss,
    take_moments,
    take_optimizer,
    take_parts,
    take_pictures,
)
from lorakiln.tools.other_configs.onetrainer_words import take_words
from lorakiln.tools.other_configs.optimizer_defaults import take_optimizer_defaults
from lorakiln.tools.other_configs.reading import OTHER_FAMILY, OtherConfig

MODELS = {
    "STABLE_DIFFUSION_15": "sd15",
    "STABLE_DIFFUSION_20_BASE": "sd21",
    "STABLE_DIFFUSION_21_BASE": "sd21",
    "STABLE_DIFFUSION_20": "sd21_v",
    "STABLE_DIFFUSION_21": "sd21_v",
    "STABLE_DIFFUSION_XL_10_BASE": "sdxl",
}
ADAPTERS = {"LORA": "lora", "LOHA": "loha", "OFT_2": "oft"}
SCHEDULES = {
    "CONSTANT": "constant",
    "LINEAR": "linear",
    "COSINE": "cosine",
    "COSINE_WITH_RESTARTS": "cosine_with_restarts",
    "COSINE_WITH_HARD_RESTARTS": "cosine_with_restarts",
    "REX": "rex",
}
PRECISIONS = {"FLOAT_32": "fp32", "FLOAT_16": "fp16", "BFLOAT_16": "bf16"}
# What the program has where a config does not say it, and a preset says little.
DEFAULTS: dict[str, Any] = {
    "model_type": "STABLE_DIFFUSION_15",
    "training_method": "FINE_TUNE",
    "resolution": "512",
    "learning_rate": 3e-6,
    "learning_rate_warmup_steps": 200.0,
    "epochs": 100,
    "lora_rank": 16,
    "lora_alpha": 1.0,
    "train_dtype": "FLOAT_16",
    "gradient_checkpointing": "ON",
    "unmasked_weight": 0.1,
    "layer_filter_preset": "full",
}
# Of these, what decides a training, by the setting that it becomes.
TOLD = {
    "resolution": "prepare.resolution",
    "learning_rate": "train.optimizer.lr",
    "learning_rate_warmup_steps": "train.scheduler.warmup_steps",
    "epochs": "train.epochs",
    "lora_rank": "train.adapter.rank",
    "lora_alpha": "train.adapter.alpha",
    "train_dtype": "train.trainer.precision",
}
PRESETS = {"full": "locon", "attn-mlp": "kohya", "attn-only": "attention"}
# With these values they say nothing.
NEUTRAL = {
    "mse_strength": 1,
    "vb_loss_strength": 1,
    "timestep_shift": 1,
    "huber_delta": 1,
    "max_noising_strength": 1,
    "lokr_decompose_factor": -1,
    "timestep_distribution": "UNIFORM",
    "ema_update_step_interval": 5,
}
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
    "huggingface_cache_dir",
    "offline_mode",
    "prevent_overwrites",
    "async_offloading",
    "enable_autocast_cache",
    "attention_mechanism",
    "bundle_additional_embeddings",
    "lora_weight_dtype",
    "validate_after",
    "validate_after_unit",
    "device_indexes",
    "fused_gradient_reduce",
    "async_gradient_reduce",
    "async_gradient_reduce_buffer",
    "gradient_reduce_precision",
    "frames",
    "sample_image_format",
    "sample_video_format",
    "sample_audio_format",
    "sample_skip_first",
    "unmasked_probability",
    "save_every",
    "save_every_unit",
    "sample_after",
    "sample_after_unit",
    "oft_block_size",
    "svd_dtype",
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
    "lora_decompose",
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
# What is read with others, and what is of other families or other programs of its own.
OTHERS = re.compile(
    r"(mse|mae|log_cosh|huber|vb_loss)_strength|huber_delta|(min|max)_noising_strength|timestep_distribution|noising_\w+"
    r"|text_encoder(_[2-4])?_(layer_skip|sequence_length)|lokr_\w+|oft_\w+|force_circular_padding|svd_rank"
)


def translate(config: OtherConfig) -> Imported:
    """The experiment that a config asks for.

    Raises:
        UserError: it trains another family, or no adapter.
    """
    imported, options = Imported(), {**DEFAULTS, **config.options}
    imported.choices["model"] = _find_model(options)
    batch, times = (int(options.get(name) or 1) for name in ("batch_size", "gradient_accumulation_steps"))
    imported.settings["train.batch_size"] = batch * times
    if times > 1:
        imported.settings["train.micro_batch"] = batch
    for name, value in options.items():
        if name in QUIET or is_off(value) or value == NEUTRAL.get(name):
            continue
        if convert := CONVERTERS.get(name):
            convert(imported, value)
        elif name in SAME:
            imported.settings[SAME[name]] = read_value(value)
        elif not isinstance(value, dict | list) and (value is True or value != 0) and not OTHERS.fullmatch(name):
            imported.leave(name, value, "no counterpart here")
    if weighting := options.get("loss_weight_fn"):
        _weighting(imported, weighting, options.get("loss_weight_strength"))
    for name in ("epsilon", "v"):
        if options.get(f"force_{name}_prediction"):
            imported.settings["model.prediction_type"] = {"v": "v_prediction"}.get(name, name)
    if not options.get("use_ema", options.get("ema") not in (None, "OFF")):
        imported.settings.pop("train.ema.decay", None)
    _masks(imported, options)
    take_loss(imported, options)
    take_parts(imported, options)
    take_moments(imported, options)
    take_words(imported, options)
    warmup = read_value(options.get("learning_rate_warmup_steps") or 0)
    if warmup:
        # It is a number with a point there: 200.0.
        steps, fraction = "train.scheduler.warmup_steps", "train.scheduler.warmup_fraction"
        imported.settings |= {fraction: warmup} if warmup < 1 else {steps: int(warmup)}
    if imported.settings.get("train.parts") != []:
        _adapter(imported, options)
    precision = PRECISIONS.get(str(options.get("train_dtype")))
    if precision:
        imported.settings["train.trainer.precision"] = precision
    if str(options.get("gradient_checkpointing", "OFF")) != "OFF":
        imported.settings["train.trainer.gradient_checkpointing"] = True
    take_optimizer_defaults(imported, OPTIMIZER_DEFAULTS)
    _tell_defaults(imported, config)
    return imported


def _tell_defaults(imported: Imported, config: OtherConfig) -> None:
    told = [
        f"{name} {DEFAULTS[name]}"
        for name, setting in TOLD.items()
        if name not in config.options and setting in imported.settings
    ]
    if told:
        imported.decided.append(f"{', '.join(told)}: OneTrainer's own, where nothing is said")


def _find_model(options: Mapping[str, Any]) -> str:
    method, kind = str(options["training_method"]), str(options["model_type"])
    if method not in ("LORA", "EMBEDDING"):
        fix = "train all weights with that program; here it would be a LoRA: docs/recipes.md"
        raise UserError(f"training_method {method} trains no adapter", fix=fix)
    if kind not in MODELS:
        fix = "give a config for Stable Diffusion 1.x, 2.x or XL"
        raise UserError(f"model_type {kind} is of {OTHER_FAMILY}", fix=fix)
    return MODELS[kind]


def _adapter(imported: Imported, options: Mapping[str, Any]) -> None:
    kind = ADAPTERS.get(str(options.get("peft_type", "LORA")))
    imported.choices["train/adapter"] = "dora" if options.get("lora_decompose") else kind or "lora"
    if kind is None:
        imported.leave(
            "peft_type", options["peft_type"], "no adapter that is trained here; a LoRA is, of the same rank"
        )
    preset = str(options["layer_filter_preset"])
    if "train.adapter.targets" not in imported.settings:
        targets = imported.settings["train.adapter.targets"] = PRESETS.get(preset, "locon")
        imported.decided.append(f"train.adapter.targets is {targets}, for the layers {preset}")
    if options.get("layer_filter_regex"):
        imported.leave("layer_filter_regex", True, "train.adapter.targets takes patterns with *")


def _schedule(imported: Imported, value: Any) -> None:
    if kind := SCHEDULES.get(str(value)):
        imported.choices["train/scheduler"] = kind
    else:
        imported.leave("learning_rate_scheduler", value, "the rate is constant; train/scheduler=NAME chooses another")


def _cycles(imported: Imported, value: Any) -> None:
    count = float(value)  # a number with a point there: 1.0
    imported.settings["train.scheduler.cycles"] = max(1, round(count))
    if not count.is_integer():
        imported.leave("learning_rate_cycles", value, "train.scheduler.cycles is a whole number")


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
    imported.settings["prepare.masks"] = "files"
    imported.settings["train.objective.unmasked_weight"] = float(options["unmasked_weight"])
    if options.get("normalize_masked_area_loss") and imported.settings["train.objective.unmasked_weight"] < 1:
        imported.settings["train.objective.normalize_masked_area"] = True


def _concepts(imported: Imported, value: Any) -> None:
    used = [one for one in value if isinstance(one, dict) and one.get("path") and one.get("enabled", True)]
    paths = [one["path"] for one in used]
    if not paths:
        return
    take_onetrainer_text(imported, used[0].get("text") or {})
    settle_captions(imported)
    take_pictures(imported, used[0])
    name = name_experiment(str(paths[0]).replace("\\", "/").rstrip("/").rpartition("/")[2])
    imported.settings["prepare.dataset"] = name
    imported.decided.append(f"the pictures of {paths[0]} belong into data/raw/{name}")
    for other in paths[1:]:
        imported.leave("concepts", other, "one folder of pictures is trained on")


CONVERTERS: dict[str, Callable[[Imported, Any], None]] = {
    "optimizer": take_optimizer,
    "learning_rate_scheduler": _schedule,
    "learning_rate_cycles": _cycles,
    "resolution": _resolution,
    "layer_filter": _filter,
    "concepts": _concepts,
}
