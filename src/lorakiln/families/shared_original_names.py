"""Where each tensor of the parts that families share stands in a single file (LDM's and OpenCLIP's names).

Sources: CompVis latent-diffusion (model.py), OpenCLIP (transformer.py). A network's names are its family's.
"""

import re
from dataclasses import dataclass

_VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_OPEN_CLIP_ENDS = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}
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


def find_vae_origin(key: str, levels: int) -> Origin:
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


def find_open_clip_origin(key: str) -> Origin:
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
