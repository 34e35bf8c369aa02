"""Where each tensor of diffusers' UNet2DConditionModel stands in a single file (LDM's and SGM's names).

Sources: CompVis latent-diffusion (openaimodel.py), Stability's generative-models.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from lorakiln.families.shared_original_names import Origin

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET_ENDS = {
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}


def network_origin(config: Mapping[str, Any], names: Collection[str]) -> Callable[[str], Origin]:
    """Where each tensor of a UNet stands in single files, by its name in folders.

    Args:
        config: its config.json.
        names: of all its tensors.
    """
    attention = {int(key.split(".")[1]) for key in names if key.startswith("up_blocks.") and ".attentions." in key}
    return partial(find_unet_origin, layers=config.get("layers_per_block", 2), attention=attention)


def find_unet_origin(key: str, layers: int, attention: Collection[int]) -> Origin:
    """Of a tensor of UNet2DConditionModel; see `to_original_module`."""
    module, _, kind = key.rpartition(".")
    return Origin(f"{to_original_module(module, layers, attention)}.{kind}")


def to_original_module(module: str, layers: int, attention: Collection[int]) -> str:
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
