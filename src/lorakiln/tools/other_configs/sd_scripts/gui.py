"""The program's options of what the kohya_ss GUI writes, which has names and units of its own for some of them."""

import re
import shlex
from collections.abc import Mapping, Set
from typing import Any

from lorakiln.console.errors import UserError
from lorakiln.tools.other_configs.command_line import read_words
from lorakiln.tools.other_configs.imported import is_off, read_value
from lorakiln.tools.other_configs.reading import OTHER_FAMILY
from lorakiln.tools.other_configs.sd_scripts.options import read_pairs

NAMES = {
    "max_resolution": "resolution",
    "optimizer": "optimizer_type",
    "lora_network_weights": "network_weights",
    "stop_text_encoder_training_pct": "stop_text_encoder_training",
}
FAMILIES = ("flux1_checkbox", "sd3_checkbox", "hunyuan_image_checkbox", "anima_checkbox", "lumina_checkbox")
MODULES = {"LoRA-FA": "networks.lora_fa", "Kohya DyLoRA": "networks.dylora"}
ALGOS = {"native fine-tuning": "full"}
# What it hands on to its networks as arguments: to networks.lora, to LyCORIS, and to some of that one's kinds.
PLAIN_ARGS = [
    "block_dims",
    "block_alphas",
    "block_lr_zero_threshold",
    "conv_block_dims",
    "conv_block_alphas",
    "down_lr_weight",
    "mid_lr_weight",
    "up_lr_weight",
]
LYCORIS_ARGS = ["use_tucker", "use_cp", "use_scalar", "rank_dropout_scale", "train_norm", "dora_wd"]
ALGO_ARGS = {
    "lokr": ("factor", "decompose_both", "full_matrix"),
    "diag-oft": ("constrain", "rescaled"),
    "ia3": ("train_on_input",),
}
DROPOUTS = ("rank_dropout", "module_dropout")
NETWORK_ARGS = {*PLAIN_ARGS, *LYCORIS_ARGS, *DROPOUTS, "conv_dim", "conv_alpha", "bypass_mode", "unit"}
NETWORK_ARGS |= {name for names in ALGO_ARGS.values() for name in names}
# Of the window and of how programs are started; and of families whose box is not ticked.
QUIET = re.compile(
    r"epoch|lr_warmup|model_list|save_as_bool|noise_offset_type|LyCORIS_preset|lowvram|file_path|num_cpu_threads_\w+"
    r"|num_processes|num_machines|multi_gpu|gpu_ids|main_process_port|dynamo_\w+|extra_accelerate_\w+"
    r"|sdxl_cache_text_encoder_outputs|sdxl_no_half_vae|lora_type|(conv_dims|conv_alphas)"
    r"|(flux1|sd3|hunyuan|anima|lumina)_\w+|\w*t5\w*|clip_[lg]\w*|ae|apply_\w+|guidance_scale|discrete_flow_shift"
    r"|model_prediction_type|model_type|timestep_sampling|split_\w+|train_blocks|mem_eff_save|no_token_padding"
    r"|\w*blocks_to_swap|weighting_scheme|logit_\w+|mode_scale|pos_emb_\w+|save_clip|enable_all_linear|show_\w+"
    r"|(img|txt|single)_\w*(dim|mod)|in_dims|train_(double|single)_\w+|ggpo_\w+"
)
# Of the kinds of noise it hands on those of the chosen one alone: by that, what it leaves aside.
LEFT_ASIDE: dict[str, tuple[str, ...]] = {
    "Multires": ("noise_offset", "noise_offset_random_strength", "adaptive_noise_scale"),
    "Original": ("multires_noise_iterations", "multires_noise_discount"),
}


def read_gui(options: Mapping[str, Any], known: Set[str]) -> dict[str, Any]:
    """The program's options of the GUI's, in which 0 and "" are "none".

    Args:
        known: the program's options that we know.

    Raises:
        UserError: it trains another family.
    """
    kind = str(options.get("LoRA_type", "Standard"))
    if kind.startswith("Flux") or any(options.get(name) for name in FAMILIES):
        raise UserError(f"trains {OTHER_FAMILY}", fix="give a config for Stable Diffusion 1.x, 2.x or XL")
    found = {NAMES.get(name, name): _make_whole(value) for name, value in options.items() if name != "LoRA_type"}
    lycoris = "LyCORIS" in kind
    found["network_module"] = "lycoris.kohya" if lycoris else MODULES.get(kind, "networks.lora")
    found["network_args"] = _read_network_args(found, kind)
    for name in LEFT_ASIDE.get(str(found.get("noise_offset_type")), ()):
        found.pop(name, None)
    if isinstance(args := found.get("optimizer_args"), str):
        found["optimizer_args"] = args.replace('"', "")
    _read_lengths(found)
    _read_rates(found)
    if isinstance(prompts := found.get("sample_prompts"), str):
        found["sample_prompts"] = [line.strip() for line in prompts.splitlines() if line.strip()[:1] not in ("", "#")]
    more: dict[str, Any] = {}
    if extra := str(found.pop("additional_parameters", "") or ""):
        more = read_words(shlex.split(extra, posix="\\" not in extra))
        found["network_args"] |= read_pairs(more.pop("network_args", None))
    always = {*known, "sdxl", "unet_lr", "train_batch_size", "network_args"}
    said = {
        name: value
        for name, value in found.items()
        if not is_off(value) and value not in (0, 0.0, "0") and (name in always or not QUIET.fullmatch(name))
    }
    return said | more  # in a command 0 is 0


def _make_whole(value: Any) -> Any:
    """Its numbers are those of a web page: 64.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _read_network_args(found: dict[str, Any], kind: str) -> dict[str, Any]:
    """The arguments of its network; what is of another kind of network than is chosen, it leaves aside too."""
    given = {name: found.pop(name) for name in NETWORK_ARGS & found.keys()}
    args = {}
    names: list[str] = list(DROPOUTS)
    if "LyCORIS" in kind:
        algo = kind.partition("/")[2].lower()
        args["algo"] = ALGOS.get(algo, algo)
        names += [*LYCORIS_ARGS, *ALGO_ARGS.get(algo, ())]
        if preset := found.get("LyCORIS_preset"):
            args["preset"] = preset
    else:
        names += PLAIN_ARGS
    if "LoCon" in kind or "C3Lier" in kind or "LyCORIS" in kind:
        names += ["conv_dim", "conv_alpha"]
    args |= {name: given[name] for name in names if given.get(name) and not is_off(given[name])}
    return args | read_pairs(str(found.get("network_args") or "").replace('"', ""))


def _read_lengths(found: dict[str, Any]) -> None:
    """What is 0 or empty says nothing, and the first that says something counts; a warm-up is a percentage."""
    steps, epochs = (read_value(found.get(name)) for name in ("max_train_steps", "max_train_epochs"))
    found["max_train_epochs"] = epochs or (None if steps else found.get("epoch"))
    if (percent := float(found.get("lr_warmup") or 0)) and not read_value(found.get("lr_warmup_steps")):
        found["lr_warmup_steps"] = percent / 100
    if found.get("lr_scheduler_num_cycles") == "" and found.get("lr_scheduler") == "cosine_with_restarts":
        found["lr_scheduler_num_cycles"] = found.get("epoch")


def _read_rates(found: dict[str, Any]) -> None:
    """It has no switch: what has the rate 0 beside another one's is not trained."""
    given = {name: found.get(name) for name in ("unet_lr", "text_encoder_lr")}
    rates = {name: float((one[0] if isinstance(one, list) and one else one) or 0) for name, one in given.items()}
    if "text_encoder_lr" in found and rates["unet_lr"] and not rates["text_encoder_lr"]:
        found["network_train_unet_only"] = True
    if "unet_lr" in found and rates["text_encoder_lr"] and not rates["unet_lr"]:
        found["network_train_text_encoder_only"] = True
    percent = float(found.pop("stop_text_encoder_training", 0) or 0)
    if 0 < percent < 100:
        found["stop_text_encoder_training"] = percent / 100
