"""The names of SDXL's layers: kohya has its UNet's as in Stability's own code (input_blocks_4_1_...), and tells the two
text encoders apart. Source: sd-scripts networks/lora.py and its convert_diffusers_to_sai_if_needed.
"""

import re

from lorakiln.families.layer_names import is_text_path, parse_text_name, to_text_name
from lorakiln.families.sd.keys import ATTENTION, LAYERS, PART, PREFIX, WORDS, is_unet_path
from lorakiln.families.sd.original_names import RESNET, UNET_ENDS, to_original_module

TEXTS = {"text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
PREFIXES = {prefix: part for part, prefix in TEXTS.items()}

# As kohya writes them; the original's norms take no LoRA.
_RESNET = {ours: theirs.replace(".", "_") for ours, theirs in RESNET.items() if not ours.startswith("norm")}
_OUTSIDE = {ours: theirs.replace(".", "_") for ours, theirs in UNET_ENDS.items() if ours != "conv_norm_out"}


def kohya_name(module: str) -> str:
    """kohya's name of "unet.<path>", "text_encoder.<path>" or "text_encoder_2.<path>" (diffusers' paths).

    Raises:
        ValueError: a name with another beginning, or a path that SGM has no name for.
    """
    part, _, path = module.partition(".")
    return PREFIX + to_sgm_path(path) if part == PART else to_text_name(module, TEXTS)


def module_of(name: str) -> str | None:
    """The canonical module of a layer in kohya's spelling; None if it is no name of this family's."""
    if name.startswith(PREFIX):
        path = to_diffusers_path(name.removeprefix(PREFIX))
        return f"{PART}.{path}" if path else None
    return parse_text_name(name, PREFIXES)


def known(module: str) -> bool:
    """Whether a canonical name may be one of SDXL's, of whatever size."""
    part, _, path = module.partition(".")
    return is_unet_path(path) if part == PART else part in TEXTS and is_text_path(path)


def to_sgm_path(path: str) -> str:
    """SDXL's UNet path in SGM's spelling, with underscores; ValueError if there is none."""
    return to_original_module(path, LAYERS, ATTENTION).replace(".", "_")


def to_diffusers_path(name: str) -> str | None:
    """The reverse of `to_sgm_path`; None if the name is no SGM block's."""
    for path, outside in _OUTSIDE.items():
        if name == outside:
            return path
    match = re.fullmatch(r"(?:(input|output)_blocks_(\d+)|middle_block)_(\d+)_(.+)", name)
    if match is None:
        return None
    side, block, inner, rest = match[1], int(match[2] or 0), int(match[3]), match[4]
    resnet = next((ours for ours, theirs in _RESNET.items() if theirs == rest), None)
    if side is None:
        where = f"mid_block.resnets.{inner // 2}" if resnet else "mid_block.attentions.0"
        return _joined(where, resnet, rest)
    level, number = divmod(block - (side == "input"), LAYERS + 1)
    if side == "input" and rest == "op":
        return f"down_blocks.{level}.downsamplers.0.conv"
    if side == "output" and rest == "conv":
        return f"up_blocks.{level}.upsamplers.0.conv"
    kind = "down_blocks" if side == "input" else "up_blocks"
    inside = "resnets" if resnet else "attentions"
    return _joined(f"{kind}.{level}.{inside}.{number}", resnet, rest)


def _joined(where: str, resnet: str | None, rest: str) -> str | None:
    tail = resnet or WORDS.dotted(rest)
    return f"{where}.{tail}" if tail else None
