"""What OneTrainer's configs say of the optimizer, the loss, the parts of the base, and of when things are done."""

import math
import re
from collections.abc import Mapping
from typing import Any

from lorakiln.schema.optimizers import OPTIMIZERS as KINDS
from lorakiln.tools.other_configs.imported import Imported, is_off, read_value

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
# Where they are others than ours; for Adafactor it has ours.
OPTIMIZER_DEFAULTS: dict[str, dict[str, Any]] = {
    "lion": {"weight_decay": 0.0},
    "prodigy": {"weight_decay": 0.0, "use_bias_correction": False, "safeguard_warmup": False},
    "dadapt_adam": {"weight_decay": 0.0, "use_bias_correction": False},
    "came": {"weight_decay": 0.01},
    "sgd": {"momentum": 0.0},
}
# Of an optimizer: how it computes, and what is on there for all.
COMPUTING = re.compile(
    r"optimizer|foreach|fused\w*|fsdp_in_use|stochastic_rounding|capturable|differentiable|block_wise|optim_bits"
    r"|min_8bit_size|percentile_clipping|is_paged|use_triton|split_groups\w*|factored\w*|use_stableadamw"
    r"|weight_decay_by_lr|rms_rescaling|d_limiter|use_schedulefree|log_every|decouple|compile|quant_block_size"
    r"|prodigy_steps|slice_p"
)
STEPS = 1000  # of noise
# Our error, and its weight where nothing is said; of "" there is none that is quite the same.
LOSSES = {"mse_strength": ("mse", 1.0), "mae_strength": ("l1", 0.0), "huber_strength": ("", 0.0)}
LOSSES["log_cosh_strength"] = ("", 0.0)


def take_optimizer(imported: Imported, value: Any) -> None:
    """Its kind, and what of it has our names: `betas` are beta1 and beta2 there."""
    given = value if isinstance(value, dict) else {"optimizer": value}
    name = str(given.get("optimizer", "ADAMW"))
    kind = OPTIMIZERS.get(name)
    if kind is None:
        imported.leave("optimizer", name, "no optimizer of ours by that name: docs/training.md")
        return
    imported.choices["train/optimizer"] = kind
    fields = KINDS.settings(kind).model_fields
    filled = {key: one for key, one in given.items() if not is_off(one) and one != math.inf}
    if "betas" in fields:
        usual = fields["betas"].default
        betas = [filled.pop(f"beta{number}", usual[number - 1]) for number in range(1, len(usual) + 1)]
        if betas != list(usual):
            imported.settings["train.optimizer.betas"] = betas
    if "eps" in fields and isinstance(fields["eps"].default, tuple):
        usual = fields["eps"].default
        pair = [filled.pop("eps", usual[0]), filled.pop("eps2", usual[1])]
        if pair != list(usual):
            imported.settings["train.optimizer.eps"] = pair
    for key, one in filled.items():
        if key in fields:
            imported.settings[f"train.optimizer.{key}"] = one
        elif not COMPUTING.fullmatch(key):
            imported.leave(f"optimizer.{key}", one, f"train/optimizer={kind} has no such setting")


def take_loss(imported: Imported, options: Mapping[str, Any]) -> None:
    """Which error is taken, and at which timesteps."""
    strengths = {name: float(options.get(name, usual)) for name, (_, usual) in LOSSES.items()}
    used = [name for name, strength in strengths.items() if strength]
    kind = LOSSES[used[0]][0] if len(used) == 1 and strengths[used[0]] == 1 else ""
    if kind and kind != "mse":
        imported.choices["train/objective"] = kind
    elif not kind:
        mixed = ", ".join(f"{name} {strengths[name]:g}" for name in used)
        imported.leave(
            "mse_strength", mixed, "one error is taken, the squared one; train/objective=l1 and huber are others"
        )
    for name, usual, setting in (
        ("min_noising_strength", 0.0, "min_timestep"),
        ("max_noising_strength", 1.0, "max_timestep"),
    ):
        strength = float(options.get(name, usual))
        if strength != usual:
            imported.settings[f"train.objective.{setting}"] = int(STEPS * strength)
    density = str(options.get("timestep_distribution", "UNIFORM"))
    if density == "LOGIT_NORMAL":
        imported.settings |= {
            "train.objective.timestep_density": "logit_normal",
            "train.objective.logit_mean": float(options.get("noising_bias", 0)),
            "train.objective.logit_std": float(options.get("noising_weight", 0)) + 1,
        }
    elif density != "UNIFORM":
        imported.leave("timestep_distribution", density, "train.objective.timestep_density is uniform or logit_normal")


def take_parts(imported: Imported, options: Mapping[str, Any]) -> None:
    """What is trained of the base: all of it where nothing is said, its text encoders for 30 epochs."""
    xl = imported.choices["model"] == "sdxl"
    names = ["text_encoder", "text_encoder_2"][: 2 if xl else 1]
    encoders = {name: {"train": True, "stop_training_after": 30, "stop_training_after_unit": "EPOCH"} for name in names}
    encoders = {name: {**one, **_section(options, name)} for name, one in encoders.items()}
    unet, trained = _section(options, "unet"), [name for name, one in encoders.items() if one["train"]]
    if options["training_method"] == "LORA":
        parts = ["unet"] * bool(unet.get("train", True)) + trained
        if parts != ["unet"]:
            imported.settings["train.parts"] = parts
        if rate := unet.get("learning_rate"):
            imported.settings["train.optimizer.lr"] = rate
        own_rates = {name: encoders[name].get("learning_rate") for name in trained}
        rates = {name: one for name, one in own_rates.items() if not is_off(one)}
        common = options["learning_rate"] if rate and trained else None
        for name in trained:
            if (own := rates.get(name, common)) is not None:
                imported.settings.setdefault("train.text_encoders.own", {})[name] = {"lr": own}
        _take_stops(imported, unet, {name: encoders[name] for name in trained})
    _take_skip(imported, options, xl)
    if rate := encoders["text_encoder"].get("dropout_probability"):
        imported.settings["train.objective.caption_dropout"] = rate


def _section(options: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = options.get(name)
    return found if isinstance(found, dict) else {}


def _take_stops(imported: Imported, unet: Mapping[str, Any], encoders: Mapping[str, Mapping[str, Any]]) -> None:
    """When each part is trained no more: the text encoders together, by the first; the network never before the end."""
    if _stops_early(imported, unet):
        after = f"{unet['stop_training_after']} {unet['stop_training_after_unit']}"
        imported.leave("unet.stop_training_after", after, "the network is trained to the end: train.steps")
    epochs = imported.settings["train.epochs"]
    stops: dict[str, float | None] = {}
    for name, encoder in encoders.items():
        unit, stop = encoder.get("stop_training_after_unit"), encoder.get("stop_training_after", 0)
        if not _stops_early(imported, encoder):
            stops[name] = None
        elif unit in ("STEP", "EPOCH"):
            stops[name] = int(stop) if unit == "STEP" else stop / epochs
        else:
            imported.leave(f"{name}.stop_training_after", f"{stop} {unit}", "train.text_encoders.stop counts steps")
    first = next(iter(stops), "")
    if stops.get(first) is not None:
        imported.settings["train.text_encoders.stop"] = stops[first]
    for name in stops:
        if stops[name] != stops[first]:
            after = f"{encoders[name].get('stop_training_after')} {encoders[name].get('stop_training_after_unit')}"
            imported.leave(f"{name}.stop_training_after", after, f"train.text_encoders.stop is one for all: {first}'s")


def _stops_early(imported: Imported, part: Mapping[str, Any]) -> bool:
    after, unit = part.get("stop_training_after"), part.get("stop_training_after_unit", "NEVER")
    if is_off(after) or unit == "NEVER":
        return False
    return unit != "EPOCH" or bool(after < imported.settings["train.epochs"])


def _take_skip(imported: Imported, options: Mapping[str, Any], xl: bool) -> None:
    """Layers that are skipped there, of SDXL beside the last, which it skips always."""
    names = ["text_encoder_layer_skip", "text_encoder_2_layer_skip"][: 2 if xl else 1]
    skips = [int(options.get(name) or 0) for name in names]
    if skips[0]:
        imported.settings["encode.clip_skip"] = skips[0] + 1
    if skips[-1] != skips[0]:
        imported.leave(names[-1], skips[-1], "encode.clip_skip is that of all encoders, as the first has it")


def take_moments(imported: Imported, options: Mapping[str, Any]) -> None:
    """When an adapter is saved, and pictures are drawn."""
    for name, setting in (("save_every", "train.save_every"), ("sample_after", "train.samples.every")):
        every, unit = read_value(options.get(name)), str(options.get(f"{name}_unit", "NEVER"))
        if not every or unit == "NEVER":
            continue
        if unit == "EPOCH":
            imported.settings[setting] = f"{every} epoch{'s' if every != 1 else ''}"
        elif unit == "STEP":
            imported.settings[setting] = every
        else:
            imported.leave(name, f"{every} {unit}", f"{setting} counts steps or epochs")


def take_pictures(imported: Imported, concept: Mapping[str, Any]) -> None:
    """What a concept says of its pictures."""
    repeats = float(concept.get("balancing", concept.get("repeats", 1)))  # as older versions call it
    if str(concept.get("balancing_strategy", "REPEATS")) == "REPEATS" and repeats > 1 and repeats.is_integer():
        imported.settings["train.repeats"] = int(repeats)
    elif repeats != 1:
        imported.leave("concepts.balancing", repeats, "train.repeats is a whole number")
    if (weight := float(concept.get("loss_weight", 1))) != 1:
        imported.leave("concepts.loss_weight", weight, "all pictures of one folder weigh the same")
    image = _section(concept, "image")
    if image.get("enable_random_flip"):
        imported.settings["encode.flip"] = True
    for name, on in image.items():
        if not name.startswith("enable_") or not on or name == "enable_random_flip":
            continue
        if name == "enable_crop_jitter":
            why = "the middle is taken; encode.augment.crop=random draws what is (docs/augmentation.md)"
        else:
            why = "see encode.augment, whose units are others: docs/augmentation.md"
        imported.leave(f"concepts.image.{name}", on, why)
