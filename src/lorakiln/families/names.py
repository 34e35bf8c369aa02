"""Module names between diffusers' dots, kohya's underscores and SGM's blocks, without a model at hand.

kohya joins a module's path with "_" after "lora_unet_", "lora_te_" (SD 1.x and 2.x), "lora_te1_" or "lora_te2_"
(SDXL); SDXL's UNet is named as in Stability's own code (input_blocks_4_1_...). The words of a path are known, so the
dots can be put back. Source: sd-scripts networks/lora.py and its convert_diffusers_to_sai_if_needed.
"""

import re

from lorakiln.families.sd.original_names import RESNET, UNET_ENDS, unet_module

PREFIXES = {
    "lora_unet_": "unet",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te_": "text_encoder",
}

# Path elements that hold an underscore themselves, and all others that a LoRA can be on.
_WORDS = (
    "down_blocks up_blocks mid_block transformer_blocks downsamplers upsamplers attentions resnets attn1 attn2 to_q "
    "to_k to_v to_out proj_in proj_out ff net proj conv1 conv2 conv_shortcut conv_in conv_out conv time_emb_proj "
    "time_embedding add_embedding linear_1 linear_2 text_model encoder layers self_attn q_proj k_proj v_proj out_proj "
    "mlp fc1 fc2 text_projection embeddings token_embedding position_embedding"
)
_ELEMENT = re.compile("(" + "|".join(sorted(_WORDS.split(), key=len, reverse=True)) + r"|\d+)(?:_|$)")

_TEXT = re.compile(
    r"text_projection|text_model\.(encoder\.layers\.\d+\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])|embeddings\..+)"
)

# As kohya writes them; the original's norms take no LoRA.
_RESNET = {ours: theirs.replace(".", "_") for ours, theirs in RESNET.items() if not ours.startswith("norm")}
_OUTSIDE = {ours: theirs.replace(".", "_") for ours, theirs in UNET_ENDS.items() if ours != "conv_norm_out"}
# Of SDXL's UNet, the only one that SGM names are used for: residual blocks a level, up-blocks that have attention.
_LAYERS, _ATTENTION = 2, (0, 1)


def kohya_name(module: str, sdxl: bool) -> str:
    """kohya's name of "unet.<path>", "text_encoder.<path>" or "text_encoder_2.<path>" (diffusers' paths).

    Raises:
        ValueError: a name with another beginning, or a path that SGM has no name for.
    """
    part, _, path = module.partition(".")
    if part == "unet":
        return "lora_unet_" + (sgm_path(path) if sdxl else path.replace(".", "_"))
    prefix = {"text_encoder": "lora_te1_" if sdxl else "lora_te_", "text_encoder_2": "lora_te2_"}.get(part)
    if prefix is None:
        raise ValueError(f"no module of Stable Diffusion: {module}")
    # transformers 5 dropped the level "text_model" from the modules; files keep it.
    return prefix + canonical(module).partition(".")[2].replace(".", "_")


def module_of(name: str) -> str | None:
    """The canonical name of a layer in kohya's spelling, or None: "unet.<path>", "text_encoder.text_model.<path>"."""
    for prefix, part in PREFIXES.items():
        if name.startswith(prefix):
            rest = name.removeprefix(prefix)
            path = diffusers_path(rest) if part == "unet" and _is_sgm(rest) else dotted(rest)
            return canonical(f"{part}.{path}") if path else None
    return None


def canonical(module: str) -> str:
    """`module` with the level "text_model" where a text encoder of transformers 5 has it not.

    The projection stands beside that level, also where a file says otherwise: ComfyUI's key for it
    (comfy/lora.py) is lora_te2_text_projection.
    """
    part, _, path = module.partition(".")
    if not part.startswith("text_encoder"):
        return module
    path = path.removeprefix("text_model.")
    return f"{part}.{path}" if path == "text_projection" else f"{part}.text_model.{path}"


def known(module: str) -> bool:
    """Whether a canonical name is one of Stable Diffusion's (1.x, 2.x, XL), of whatever size."""
    part, _, path = module.partition(".")
    if dotted(path.replace(".", "_")) != path:
        return False
    if part in ("text_encoder", "text_encoder_2"):
        return _TEXT.fullmatch(path) is not None
    try:
        return part == "unet" and bool(sgm_path(path))
    except ValueError:
        return False


def dotted(name: str) -> str | None:
    """ "mid_block_attentions_0_proj_in" -> "mid_block.attentions.0.proj_in"; None if a word is unknown."""
    found, at = [], 0
    while at < len(name):
        match = _ELEMENT.match(name, at)
        if match is None:
            return None
        found.append(match[1])
        at = match.end()
    return ".".join(found) or None


def sgm_path(path: str) -> str:
    """SDXL's UNet path in SGM's spelling, with underscores; ValueError if there is none."""
    return unet_module(path, _LAYERS, _ATTENTION).replace(".", "_")


def diffusers_path(name: str) -> str | None:
    """The reverse of `sgm_path`; None if the name is no SGM block's."""
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
    level, number = divmod(block - (side == "input"), _LAYERS + 1)
    if side == "input" and rest == "op":
        return f"down_blocks.{level}.downsamplers.0.conv"
    if side == "output" and rest == "conv":
        return f"up_blocks.{level}.upsamplers.0.conv"
    kind = "down_blocks" if side == "input" else "up_blocks"
    inside = "resnets" if resnet else "attentions"
    return _joined(f"{kind}.{level}.{inside}.{number}", resnet, rest)


def _joined(where: str, resnet: str | None, rest: str) -> str | None:
    tail = resnet or dotted(rest)
    return f"{where}.{tail}" if tail else None


def _is_sgm(name: str) -> bool:
    return name.startswith(("input_blocks_", "output_blocks_", "middle_block_", "out_2", "time_embed_", "label_emb_"))
