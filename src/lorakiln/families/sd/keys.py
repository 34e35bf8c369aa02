"""The names of Stable Diffusion 1.x' and 2.x' layers: diffusers' paths, with kohya's underscores or without."""

from lorakiln.families.layer_names import Words, is_text_path, parse_text_name, to_text_name
from lorakiln.families.sd.original_names import to_original_module

PART, PREFIX = "unet", "lora_unet_"
# diffusers' converter gives the text encoder SDXL's prefix.
PREFIXES = {"lora_te_": "text_encoder", "lora_te1_": "text_encoder"}
WORDS = Words(
    "down_blocks up_blocks mid_block transformer_blocks downsamplers upsamplers attentions resnets attn1 attn2 to_q "
    "to_k to_v to_out proj_in proj_out ff net proj conv1 conv2 conv_shortcut conv_in conv_out conv time_emb_proj "
    "time_embedding add_embedding linear_1 linear_2"
)
# Of Stability's largest network, whose blocks are named without a config at hand: residual blocks a level, up-blocks
# that have attention.
LAYERS, ATTENTION = 2, (0, 1)


def kohya_name(module: str) -> str:
    """kohya's name of "unet.<path>" or "text_encoder.<path>"; ValueError if it is another part's."""
    part, _, path = module.partition(".")
    if part == PART:
        return PREFIX + path.replace(".", "_")
    return to_text_name(module, {"text_encoder": "lora_te_"})


def module_of(name: str) -> str | None:
    """The canonical module of a layer in kohya's spelling; None if it is no name of this family's."""
    if name.startswith(PREFIX):
        path = WORDS.dotted(name.removeprefix(PREFIX))
        return f"{PART}.{path}" if path else None
    return parse_text_name(name, PREFIXES)


def known(module: str) -> bool:
    """Whether a canonical name may be one of Stable Diffusion's, of whatever size."""
    part, _, path = module.partition(".")
    return is_unet_path(path) if part == PART else part == "text_encoder" and is_text_path(path)


def is_unet_path(path: str) -> bool:
    """Whether a path is one that Stability's networks have a name for."""
    try:
        return WORDS.has(path) and bool(to_original_module(path, LAYERS, ATTENTION))
    except ValueError:
        return False
