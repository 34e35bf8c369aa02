"""OneTrainer's configs (.json), of its methods LoRA and embedding."""

from collections.abc import Callable, Mapping
from typing import Any

from lorakiln.console.errors import UserError
from lorakiln.tools.other_configs.captions import settle_captions, take_onetrainer_text
from lorakiln.tools.other_configs.imported import Imported, is_off, name_experiment, read_value
from lorakiln.tools.other_configs.onetrainer.base import take_base
from lorakiln.tools.other_configs.onetrainer.older_versions import renew_options
from lorakiln.tools.other_configs.onetrainer.options import DEFAULTS, NEUTRAL, OTHERS, QUIET, SAID, SAME, SECTIONS
from lorakiln.tools.other_configs.onetrainer.training import (
    OPTIMIZER_DEFAULTS,
    take_loss,
    take_moments,
    take_optimizer,
    take_parts,
    take_pictures,
)
from lorakiln.tools.other_configs.onetrainer.words import take_words
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
TRAINED = "STANDARD"
WHY_NOT = {
    "VALIDATION": "train.validation.fraction holds back some of the pictures; no others are validated on",
    "PRIOR_PREDICTION": "pictures for regularisation lie in `reg` of the dataset, and their target is the picture",
}
PRESETS = {"full": "locon", "attn-mlp": "kohya", "attn-only": "attention"}


def translate(config: OtherConfig) -> Imported:
    """The experiment that a config asks for.

    Raises:
        UserError: it trains another family, or no adapter.
    """
    imported = Imported()
    given = {name: value for name, value in renew_options(config.options).items() if value is not None}
    options = {**DEFAULTS, **given}
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
        elif isinstance(value, dict):
            if not SECTIONS.fullmatch(name):
                imported.leave(name, ", ".join(map(str, value)), "no counterpart here")
        elif not isinstance(value, list) and (value is True or value != 0) and not OTHERS.fullmatch(name):
            imported.leave(name, value, "no counterpart here")
    if "clip_grad_norm" in config.options and config.options["clip_grad_norm"] is None:
        imported.settings["train.max_grad_norm"] = None  # not its 1, but none
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
    take_base(imported, options)
    take_words(imported, options)
    warmup = read_value(options.get("learning_rate_warmup_steps") or 0)
    if warmup:
        # It is a number with a point there: 200.0.
        steps, fraction = "train.scheduler.warmup_steps", "train.scheduler.warmup_fraction"
        imported.settings |= {fraction: warmup} if warmup < 1 else {steps: int(warmup)}
    if imported.settings.get("train.parts") != []:
        _adapter(imported, options)
    take_optimizer_defaults(imported, OPTIMIZER_DEFAULTS)
    _explain_defaults(imported, given)
    return imported


def _explain_defaults(imported: Imported, given: Mapping[str, Any]) -> None:
    absent = [
        f"{name} {DEFAULTS[name]}"
        for name, setting in SAID.items()
        if name not in given and setting in imported.settings
    ]
    if absent:
        imported.decided.append(f"{', '.join(absent)}: OneTrainer's own, where nothing is said")


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
    if kind == "oft":
        imported.settings["train.adapter.rank"] = int(options["oft_block_size"])
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


def _validation(imported: Imported, value: Any) -> None:
    imported.leave("validation", value, "it has pictures of its own there; train.validation.fraction holds some back")


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
    for one in [one for one in used if _find_purpose(one) != TRAINED]:
        imported.leave("concepts", one["path"], WHY_NOT.get(_find_purpose(one), "its pictures are for something else"))
        used.remove(one)
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


def _find_purpose(concept: Mapping[str, Any]) -> str:
    """What its pictures are for; older versions have a switch."""
    return str(concept.get("type") or ("VALIDATION" if concept.get("validation_concept") else TRAINED))


def _file_elsewhere(imported: Imported, value: Any) -> None:
    imported.leave("a list in a file of its own", value, "is not beside the config: copy it there and import again")


CONVERTERS: dict[str, Callable[[Imported, Any], None]] = {
    "optimizer": take_optimizer,
    "learning_rate_scheduler": _schedule,
    "learning_rate_cycles": _cycles,
    "validation": _validation,
    "resolution": _resolution,
    "layer_filter": _filter,
    "concepts": _concepts,
    "concept_file_name": _file_elsewhere,
    "sample_definition_file_name": _file_elsewhere,
}
