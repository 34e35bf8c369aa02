"""Where each client looks for a LoRA's layers: its own key for every layer of a base model that it can put a LoRA on.

Written from how the clients build theirs, and apart from keys.py, with which the files are written: ComfyUI
counts the blocks of Stability's network (comfy/utils.py), A1111 rewrites diffusers' names with patterns
(extensions-builtin/Lora/networks.py), sd-scripts walks its network (networks/lora.py).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

Keys = dict[str, str]  # "lora_unet_..." -> "unet.<diffusers' path>"

PROJECTION = "text_projection"
RESNET = {
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
OUTSIDE = {
    "conv_in": "input_blocks.0.0",
    "conv_out": "out.2",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
}

# A1111's patterns for diffusers' names; the group numbers are put into the sums.
_A1111 = (
    (r"down_blocks_(\d+)_(attentions|resnets)_(\d+)_(.+)", lambda m: ("input", 1 + 3 * int(m[1]) + int(m[3]), m)),
    (r"up_blocks_(\d+)_(attentions|resnets)_(\d+)_(.+)", lambda m: ("output", 3 * int(m[1]) + int(m[3]), m)),
)


def client_keys(network: nn.Module, encoders: Mapping[str, nn.Module], original: bool) -> dict[str, Keys]:
    """For each client the layer that it finds under a key.

    Args:
        network: a UNet2DConditionModel, bare.
        encoders: text encoders by the part's name, "text_encoder" and "text_encoder_2".
        original: sd-scripts writes this UNet in Stability's names, and tells the text encoders apart, as SDXL's.
    """
    layers = [name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    config: Any = network.config
    sgm = dict(_sgm(config, layers))
    text = _text_keys(encoders, original)
    projection = {f"lora_te2_{PROJECTION}": f"text_encoder_2.{PROJECTION}"} if "text_encoder_2" in encoders else {}
    ours = {f"lora_unet_{_flat(name)}": f"unet.{name}" for name in layers}
    theirs = {f"lora_unet_{_flat(path)}": f"unet.{name}" for name, path in sgm.items()}
    known = {f"diffusion_model_{_flat(path)}": f"unet.{name}" for name, path in sgm.items()}
    found = {"kohya": (theirs if original else ours) | text, "ComfyUI": theirs | ours | text | projection}
    if config.layers_per_block == 2:  # A1111's patterns suppose so, as all of Stability's models do
        keys = [*theirs, *ours]
        found["A1111"] = {key: known[name] for key in keys if (name := _a1111_name(key)) in known} | text
    return found


def _sgm(config: Mapping[str, Any], layers: list[str]) -> Iterator[tuple[str, str]]:
    """(diffusers' path, Stability's path) of every layer that both have."""
    blocks = dict(_blocks(config))
    for name in layers:
        if name in OUTSIDE:
            yield name, OUTSIDE[name]
        for prefix, block in blocks.items():
            if name.startswith(prefix + "."):
                rest = name.removeprefix(prefix + ".")
                yield name, f"{block}.{RESNET.get(rest, rest) if '.resnets.' in prefix else rest}"
    for kind, inner in (("downsamplers", "conv"), ("upsamplers", "conv")):
        for prefix, block in blocks.items():
            if f".{kind}." in prefix and (name := f"{prefix}.{inner}") in layers:
                yield name, f"{block}.op" if kind == "downsamplers" else f"{block}.conv"


def _blocks(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(diffusers' prefix, Stability's prefix) of every residual block, attention and change of size, counted up."""
    count, depth = config["layers_per_block"], len(config["block_out_channels"])
    at = 1  # behind the first convolution
    for level, kind in enumerate(config["down_block_types"]):
        for layer in range(count):
            yield f"down_blocks.{level}.resnets.{layer}", f"input_blocks.{at}.0"
            if "CrossAttn" in kind:
                yield f"down_blocks.{level}.attentions.{layer}", f"input_blocks.{at}.1"
            at += 1
        if level < depth - 1:
            yield f"down_blocks.{level}.downsamplers.0", f"input_blocks.{at}.0"
            at += 1
    yield "mid_block.resnets.0", "middle_block.0"
    yield "mid_block.attentions.0", "middle_block.1"
    yield "mid_block.resnets.1", "middle_block.2"
    at = 0
    for level, kind in enumerate(config["up_block_types"]):
        for layer in range(count + 1):
            yield f"up_blocks.{level}.resnets.{layer}", f"output_blocks.{at}.0"
            inner = 1
            if "CrossAttn" in kind:
                yield f"up_blocks.{level}.attentions.{layer}", f"output_blocks.{at}.1"
                inner = 2
            if layer == count and level < depth - 1:
                yield f"up_blocks.{level}.upsamplers.0", f"output_blocks.{at}.{inner}"
            at += 1


def _a1111_name(key: str) -> str:
    """The name under which A1111 looks up a key of the UNet."""
    rest = key.removeprefix("lora_unet_")
    for pattern, place in _A1111:
        if match := re.fullmatch(pattern, rest):
            side, block, m = place(match)
            inside = 1 if m[2] == "attentions" else 0
            return f"diffusion_model_{side}_blocks_{block}_{inside}_{_suffix(m[4], m[2])}"
    if match := re.fullmatch(r"mid_block_(attentions|resnets)_(\d+)_(.+)", rest):
        inside = 1 if match[1] == "attentions" else 2 * int(match[2])
        return f"diffusion_model_middle_block_{inside}_{_suffix(match[3], match[1])}"
    if match := re.fullmatch(r"down_blocks_(\d+)_downsamplers_0_conv", rest):
        return f"diffusion_model_input_blocks_{3 + 3 * int(match[1])}_0_op"
    if match := re.fullmatch(r"up_blocks_(\d+)_upsamplers_0_conv", rest):
        return f"diffusion_model_output_blocks_{2 + 3 * int(match[1])}_{2 if int(match[1]) else 1}_conv"
    if match := re.fullmatch(r"time_embedding_linear_(\d)", rest):
        return f"diffusion_model_time_embed_{2 * int(match[1]) - 2}"
    return "diffusion_model_" + {"conv_in": "input_blocks_0_0", "conv_out": "out_2"}.get(rest, rest)


def _suffix(rest: str, kind: str) -> str:
    return _flat(RESNET.get(rest, rest)) if kind == "resnets" else rest


def _text_keys(encoders: Mapping[str, nn.Module], original: bool) -> Keys:
    """All clients take CLIP's layers under transformers' names, after a prefix that tells the encoder.

    The second encoder's projection is not among them: sd-scripts adapts attention and MLP alone, A1111's is no module.
    """
    prefixes = {"text_encoder": "lora_te1_" if original else "lora_te_", "text_encoder_2": "lora_te2_"}
    found = {}
    for part, encoder in encoders.items():
        for name, module in encoder.named_modules():
            if isinstance(module, nn.Linear) and name != PROJECTION:
                path = f"text_model.{name.removeprefix('text_model.')}"
                found[prefixes[part] + _flat(path)] = f"{part}.{path}"
    return found


def _flat(path: str) -> str:
    return path.replace(".", "_")
