"""Which base model a LoRA was trained on: by its layers' shapes, by what its file says, and how it names its layers."""

import re
from collections.abc import Iterable

from lorakiln.adapters.adapter import Adapter

# Of a metadata value's beginning: sd-scripts' ss_base_model_version ("sd_v2_v", "sdxl_base_v1-0"; OneTrainer writes
# "sdxl_") and the model metadata standard's modelspec.architecture.
_SAID = {
    "ss_base_model_version": {"sdxl": "sdxl", "sd_v1": "sd_v1", "sd_v2": "sd_v2"},
    "modelspec.architecture": {
        "stable-diffusion-xl": "sdxl", "stable-diffusion-v1": "sd_v1", "stable-diffusion-v2": "sd_v2",
    },
}  # fmt: skip
_TEXTS = {768: "sd_v1", 1024: "sd_v2", 2048: "sdxl"}  # width of the texts that the cross-attention reads
_ENCODERS = {768: "sd_v1", 1024: "sd_v2"}  # width of the one text encoder
# Only SDXL has several transformer blocks in a row; at the highest resolution it has none at all.
_DEEP = re.compile(r"\.transformer_blocks\.[1-9]")
_HIGHEST = re.compile(r"unet\.(down_blocks\.0|up_blocks\.3)\.attentions\.")
# sd-scripts names SDXL's UNet so, and other trainers those of Stable Diffusion 1.x and 2.x too. diffusers' converter
# gives Stable Diffusion 1.5's text encoder SDXL's prefix.
_XL_NAMES = re.compile(
    r"(?:lora|oft)_unet_(input_blocks|middle_block|output_blocks|out_2|time_embed_|label_emb)|lora_te[12]_"
)


def base_version(adapter: Adapter) -> str:
    """sd_v1, sd_v2, sdxl or unknown.

    Shapes that only one of them has count first, then what the metadata says, then the names' style in the file, then
    the text encoder's width. "unknown": none of them tells, as where only self-attention is adapted.
    """
    told = (_by_metadata(adapter), adapter.base)
    if any(_HIGHEST.match(name) for name in adapter.changes):
        told = tuple(one for one in told if one != "sdxl")
    return _by_layers(adapter) or next((one for one in told if one), None) or _by_encoder(adapter) or "unknown"


def base_of_names(names: Iterable[str]) -> str | None:
    """What the style of the names in a kohya file hints at: "sdxl", or None."""
    return "sdxl" if any(_XL_NAMES.match(name) for name in names) else None


def _by_metadata(adapter: Adapter) -> str | None:
    for key, versions in _SAID.items():
        for beginning, version in versions.items():
            if adapter.metadata.get(key, "").startswith(beginning):
                return version
    return None


def _by_layers(adapter: Adapter) -> str | None:
    if any(name.startswith("text_encoder_2.") or _DEEP.search(name) for name in adapter.changes):
        return "sdxl"
    for name, layer in adapter.changes.items():
        if name.startswith("unet.") and name.endswith(("attn2.to_k", "attn2.to_v")) and layer.shape:
            return _TEXTS.get(layer.shape[1])
    return None


def _by_encoder(adapter: Adapter) -> str | None:
    for name, layer in adapter.changes.items():
        if name.endswith("self_attn.q_proj") and layer.shape:
            return _ENCODERS.get(layer.shape[1])
    return None
