"""The program's options of what the kohya_ss GUI writes, and of a file's metadata."""

import json
import re
import shlex
from collections.abc import Mapping, Set
from typing import Any

from lorakiln.tools.other_configs.imported import read_value
from lorakiln.tools.other_configs.reading import read_words

# The GUI's own names of the program's options.
GUI_NAMES = {"max_resolution": "resolution", "optimizer": "optimizer_type"}
LYCORIS_NAMES = {"native fine-tuning": "full"}
# What it hands on to LyCORIS of its own settings; what is 0 or false is LyCORIS' default too.
LYCORIS_ARGS = ("factor", "decompose_both", "full_matrix", "dora_wd", "rescaled", "constrain", "train_norm")
# Of the metadata: counts and dates that nobody sets.
RECORDED = re.compile(
    r"session_id|training_\w+_at|num_\w+|epoch|steps|sd_model_hash|new_sd_model_hash|\w*vae_hash|\w*vae_name|dataset_dirs"
    r"|reg_dataset_dirs|tag_frequency|bucket_info|sd_scripts_commit_hash|datasets|training_comment|bucket_no_upscale"
    r"|enable_bucket|cache_latents|lowram|full_fp16|metadata|sd_model_name|sshs_\w+"
)


def read_gui(options: Mapping[str, Any], known: Set[str]) -> dict[str, Any]:
    """The program's options of the GUI's, which has names of its own for some and writes 0 for "none"."""
    found = {GUI_NAMES.get(name, name): value for name, value in options.items()}
    # What is 0 or empty there says nothing, and the first that says something counts.
    steps, epochs = (read_value(options.get(name)) for name in ("max_train_steps", "max_train_epochs"))
    found["max_train_epochs"] = epochs or (None if steps else options.get("epoch"))
    kind = str(found.pop("LoRA_type", "Standard"))
    found["network_module"] = "lycoris.kohya" if "LyCORIS" in kind else "networks.lora"
    args = [found.pop("network_args", "") or ""]
    if "LyCORIS" in kind:
        algo = kind.partition("/")[2].lower()
        args.append(f"algo={LYCORIS_NAMES.get(algo, algo)}")
        args += [f"{name}={found[name]}" for name in LYCORIS_ARGS if found.get(name)]
        if preset := found.get("LyCORIS_preset"):
            args.append(f"preset={preset}")
    if "LoCon" in kind or "C3Lier" in kind or "LyCORIS" in kind:
        args += [f"{name}={found[name]}" for name in ("conv_dim", "conv_alpha") if found.get(name)]
    args += [f"{name}={found[name]}" for name in ("rank_dropout", "module_dropout") if found.get(name)]
    for name in ("conv_dim", "conv_alpha", "rank_dropout", "module_dropout"):
        found.pop(name, None)  # of the arguments, or of another kind than is chosen
    found["network_args"] = " ".join(args).strip()
    if percent := float(found.pop("lr_warmup", 0) or 0):
        found["lr_warmup_steps"] = percent / 100
    # It has no switch: what has the rate 0 beside another one's is not trained.
    rates = {name: float(found.get(name) or 0) for name in ("unet_lr", "text_encoder_lr")}
    if "text_encoder_lr" in found and rates["unet_lr"] and not rates["text_encoder_lr"]:
        found["network_train_unet_only"] = True
    if "unet_lr" in found and rates["text_encoder_lr"] and not rates["unet_lr"]:
        found["network_train_text_encoder_only"] = True
    if 0 < (percent := float(found.pop("stop_text_encoder_training", 0) or 0)) < 100:
        found["stop_text_encoder_training"] = percent / 100
    if extra := str(found.pop("additional_parameters", "") or ""):
        more = read_words(shlex.split(extra, posix="\\" not in extra))
        if also := more.pop("network_args", None):
            found["network_args"] = " ".join([found["network_args"], *([also] if isinstance(also, str) else also)])
        found.update(more)
    told = {*known, "sdxl", "unet_lr", "train_batch_size", "network_args"}
    return {name: value for name, value in found.items() if name in told and value not in (0, 0.0, "0")}


def read_training_metadata(options: dict[str, Any]) -> dict[str, Any]:
    """The program's options of its ss_ keys."""
    found = {name: read_value(value) if name != "network_args" else value for name, value in options.items()}
    found["train_batch_size"] = found.pop("batch_size_per_device", None) or found.pop("total_batch_size", None) or 1
    found["optimizer_type"] = found.pop("optimizer", None)
    # "torch.optim.AdamW(weight_decay=0.05,betas=(0.9, 0.99))"
    found["optimizer_args"] = dict(re.findall(r"(\w+)=(\([^)]*\)|[^,)]+)", str(found["optimizer_type"])))
    found["debiased_estimation_loss"] = found.pop("debiased_estimation", None)
    if found.get("sd_model_name"):
        found["pretrained_model_name_or_path"] = found["sd_model_name"]
    folders = json.loads(options.get("dataset_dirs") or "{}")
    if len(folders) == 1:
        (name, counts), *_ = folders.items()
        found["train_data_dir"] = re.sub(r"^\d+_", "", name)
        found["dataset_repeats"] = counts.get("n_repeats", 1)
    if found.get("max_train_steps") and found.get("num_epochs"):
        found.pop("max_train_epochs", None)
    return {name: value for name, value in found.items() if not RECORDED.fullmatch(name) or name == "metadata"}
