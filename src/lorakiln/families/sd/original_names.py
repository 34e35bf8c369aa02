"""Where each tensor of diffusers' and transformers' models stands in a single file (LDM's, SGM's and OpenCLIP's names).

Sources: CompVis latent-diffusion (openaimodel.py, model.py), Stability's generative-models, OpenCLIP (transformer.py).
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
UNET_ENDS = {
    "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
}  # fmt: skip
_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OPEN_CLIP = {
    "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}  # fmt: skip
_OPEN_CLIP_ENDS = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight", "final_layer_norm.bias": "ln_final.bias",
}  # fmt: skip
_THIRDS = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True)
class Origin:
    """Where a tensor comes from.

    Attributes:
        name: in the file, without the part's prefix.
        third: which third of its rows, where three matrices stand in one; None for all.
        transposed: whether rows and columns are swapped.
    """

    name: str
    third: int | None = None
    transposed: bool = False


def unet_origin(key: str, layers: int, attention: Collection[int]) -> Origin:
    """Of a tensor of UNet2DConditionModel; see `unet_module`."""
    module, _, kind = key.rpartition(".")
    return Origin(f"{unet_module(module, layers, attention)}.{kind}")


def unet_module(module: str, layers: int, attention: Collection[int]) -> str:
    """The original name of a module of UNet2DConditionModel.

    Args:
        layers: residual blocks a level, `layers_per_block`.
        attention: the up-blocks (0 is the lowest resolution) that have attention.

    Raises:
        ValueError: the original code has no such module.
    """
    if module in UNET_ENDS:
        return UNET_ENDS[module]
    block, *rest = module.split(".")
    if block == "mid_block" and len(rest) > 2:
        inner, number, *tail = rest
        place = 1 if inner == "attentions" else 2 * int(number)
        return f"middle_block.{place}.{_inside(inner, tail)}"
    if block not in ("down_blocks", "up_blocks") or len(rest) < 4:
        raise ValueError(f"the original UNet has no name for {module}")
    level, inner, number, *tail = rest
    if inner == "downsamplers":
        return f"input_blocks.{(layers + 1) * (int(level) + 1)}.0.op"
    if inner == "upsamplers":
        # It stands behind the attention, where there is one.
        place = 2 if int(level) in attention else 1
        return f"output_blocks.{(layers + 1) * int(level) + layers}.{place}.conv"
    side, first = ("input", 1) if block == "down_blocks" else ("output", 0)
    at = (layers + 1) * int(level) + int(number) + first
    return f"{side}_blocks.{at}.{int(inner == 'attentions')}.{_inside(inner, tail)}"


def _inside(inner: str, tail: list[str]) -> str:
    path = ".".join(tail)
    if inner == "attentions":
        return path
    if inner != "resnets" or path not in RESNET:
        raise ValueError(f"the original UNet has no name for {inner} ... {path}")
    return RESNET[path]


def vae_origin(key: str, levels: int) -> Origin:
    """Of a tensor of AutoencoderKL with so many levels; LDM counts the decoder's levels from the other end."""
    side, _, rest = key.partition(".")
    if side not in ("encoder", "decoder"):
        return Origin(key)
    rest = rest.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    if match := re.fullmatch(r"mid_block\.resnets\.(\d)\.(.+)", rest):
        return Origin(f"{side}.mid.block_{int(match[1]) + 1}.{match[2]}")
    if match := re.fullmatch(r"mid_block\.attentions\.0\.(.+)\.(weight|bias)", rest):
        return Origin(f"{side}.mid.attn_1.{_VAE_ATTENTION[match[1]]}.{match[2]}")
    if match := re.fullmatch(r"(down|up)_blocks\.(\d)\.(resnets|\w+samplers)\.(\d)\.(.+)", rest):
        way, level, inner, number, tail = match.groups()
        at = int(level) if way == "down" else levels - 1 - int(level)
        where = f"block.{number}" if inner == "resnets" else f"{way}sample"
        return Origin(f"{side}.{way}.{at}.{where}.{tail}")
    return Origin(f"{side}.{rest}")


def open_clip_origin(key: str) -> Origin:
    """Of a tensor of a CLIP text encoder that a single file keeps under OpenCLIP's names."""
    if key == "text_projection.weight":
        return Origin("text_projection", transposed=True)
    path = key.removeprefix("text_model.")
    if path in _OPEN_CLIP_ENDS:
        return Origin(_OPEN_CLIP_ENDS[path])
    match = re.fullmatch(r"encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", path)
    if match is None:
        raise ValueError(f"no tensor of a CLIP text encoder: {key}")
    number, module, kind = match.groups()
    block = f"transformer.resblocks.{number}"
    if module in _OPEN_CLIP:
        return Origin(f"{block}.{_OPEN_CLIP[module]}.{kind}")
    return Origin(f"{block}.attn.in_proj_{kind}", third=_THIRDS.index(module.removeprefix("self_attn.")))
