"""The base model and the adapter."""

import re
from collections.abc import Mapping
from typing import Any

from lorakiln.tools.other_configs.imported import Imported, is_off, read_value
from lorakiln.tools.other_configs.sd_scripts.options import DEFAULTS, OPTIONS, Converter, ignore, read_pairs

LYCORIS = {
    "lora": "lora",
    "locon": "lora",
    "loha": "loha",
    "lokr": "lokr",
    "diag-oft": "oft",
    "boft": "boft",
    "ia3": "ia3",
}

# What bases made of SDXL have in their names.
OF_SDXL = re.compile(r"xl\b|sdxl|pony|illustrious|noobai|animagine")
# LyCORIS' own, by what they adapt of a UNet.
PRESETS = {"full": "locon", "full-lin": "locon", "attn-mlp": "kohya", "attn-only": "attention"}

# LyCORIS' arguments of one kind alone, by that kind.
OF_KINDS = {
    ("lokr", "factor"): "factor",
    ("lokr", "decompose_both"): "decompose_both",
    ("lokr", "full_matrix"): "full_matrix",
    ("oft", "constraint"): "constraint",
    ("oft", "constrain"): "constraint",
    ("oft", "rescaled"): "rescale",
    ("boft", "constraint"): "constraint",
    ("boft", "rescaled"): "rescale",
}
LARGEST_RANK = 1024


def choose_model(imported: Imported, given: dict[str, Any], script: str) -> None:
    path = str(given.get("pretrained_model_name_or_path", ""))
    xl = given.pop("sdxl", False) or script.startswith("sdxl") or OF_SDXL.search(path.lower())
    version, why = str(given.pop("base_model_version", "")), "by what the config says of its base"
    if xl or version.startswith("sdxl"):
        imported.choices["model"] = "sdxl"
    elif given.pop("v2", False) or version.startswith("sd_v2"):
        v = given.get("v_parameterization") or version.endswith("_v")
        imported.choices["model"] = "sd21_v" if v else "sd21"
    else:
        imported.choices["model"] = "sd15"
        why = why if version or script else "for nothing says that its base is another; model=sdxl if it is SDXL"
    imported.decided.append(f"model={imported.choices['model']}, {why}")


def take_encoders(imported: Imported, given: Mapping[str, Any]) -> None:
    """Which parts are trained, at which rates: all of them where nothing is said; a file's metadata say nothing of it
    where they have no rate.
    """
    rate, known = given.get("text_encoder_lr"), not given.get("metadata") or "text_encoder_lr" in given
    if not known or given.get("network_train_unet_only") or (rate is not None and read_value(rate) == 0):
        return
    alone = given.get("network_train_text_encoder_only")
    imported.train_encoders(rate, denoiser=not alone)
    parts = imported.settings["train.parts"]
    why = "for --network_train_text_encoder_only" if alone else "kohya trains all without --network_train_unet_only"
    imported.decided.append(f"train.parts is {parts}: {why}")
    if stop := given.get("stop_text_encoder_training"):
        imported.settings["train.text_encoders.stop"] = read_value(stop)


def _network(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    args = read_pairs(given.get("network_args"))
    if "lycoris" in str(value):
        algo = str(args.get("algo", "lora")).lower()
        if algo not in LYCORIS:
            imported.leave("--network_args algo", algo, "no adapter that is trained here; a LoRA is, of the same rank")
        kind = LYCORIS.get(algo, "lora")
        if read_value(args.get("dora_wd")):
            kind = "dora"
        preset = str(args.get("preset", "full"))
        if preset not in PRESETS:
            imported.leave("--network_args preset", preset, "train.adapter.targets takes patterns of names")
        imported.settings.setdefault("train.adapter.targets", PRESETS.get(preset, "locon"))
    else:
        name = str(value).rpartition(".")[2]
        kind = "oft" if name == "oft" else "lora"
        if name not in ("lora", "oft"):
            imported.leave("--network_module", value, "no adapter that is trained here; a LoRA is, of the same rank")
    imported.choices["train/adapter"] = kind


def _network_args(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    args = read_pairs(value)
    for name, one in args.items():
        if name in ("algo", "dora_wd", "preset") or is_off(one):
            continue
        if name in ("conv_dim", "conv_alpha") and args.get("preset") in ("attn-mlp", "attn-only"):
            imported.leave(f"--network_args {name}", one, f"the preset {args['preset']} has no convolutions of 3x3")
        elif name == "conv_dim":
            imported.settings["train.adapter.targets"] = "locon"
            if read_value(one) != read_value(given.get("network_dim", DEFAULTS["network_dim"])):
                _set_convolutions(imported, "rank_pattern", read_value(one))
        elif name == "conv_alpha":
            if read_value(one) != read_value(given.get("network_alpha", DEFAULTS["network_alpha"])):
                _set_convolutions(imported, "alpha_pattern", float(one))
        elif name in ("down_lr_weight", "mid_lr_weight", "up_lr_weight"):
            _scale_rates(imported, name.partition("_")[0], one, given)
        elif setting := OF_KINDS.get((imported.choices.get("train/adapter", ""), name)):
            imported.settings[f"train.adapter.{setting}"] = read_value(one)
        elif option := OPTIONS.get(name):
            if name in ("block_dims", "block_alphas", "conv_block_dims", "conv_block_alphas"):
                imported.leave(f"--network_args {name}", one, f"write them {option.remark}")
            else:
                imported.take(f"--network_args {name}", one, option)
        else:
            imported.leave(f"--network_args {name}", one, "no argument that has a counterpart here")


def settle_adapter(imported: Imported) -> None:
    """What LyCORIS leaves aside of its kinds."""
    settings, kind = imported.settings, imported.choices.get("train/adapter")
    rank = settings.get("train.adapter.rank", 0)
    if kind == "lokr" and rank > LARGEST_RANK:
        # Its way to ask for no low rank at all.
        del settings["train.adapter.rank"]
        settings.pop("train.adapter.alpha", None)
        settings["train.adapter.full_matrix"] = True
        imported.decided.append(f"train.adapter.full_matrix is true, for a rank of {rank}: alpha counts for nothing")
        for name in ("rank_pattern", "alpha_pattern", "decompose_both"):
            settings.pop(f"train.adapter.{name}", None)


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


def _clip_skip(imported: Imported, value: Any, given: Mapping[str, Any]) -> None:
    if imported.choices["model"] == "sdxl":
        if read_value(value) != 1:
            imported.leave("--clip_skip", value, "sd-scripts does not heed it for SDXL")
    else:
        imported.settings["encode.clip_skip"] = read_value(value)


CONVERTERS: dict[str, Converter] = {
    "network_module": _network,
    "network_args": _network_args,
    "v2": ignore,
    "network_train_unet_only": ignore,
    "network_train_text_encoder_only": ignore,
    "text_encoder_lr": ignore,
    "stop_text_encoder_training": ignore,
    "metadata": ignore,
    "clip_skip": _clip_skip,
}
