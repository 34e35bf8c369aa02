"""Which base model a LoRA was trained on: by what its file says, how it names its layers, and their shapes."""

import re
from collections.abc import Iterable

from lorakiln.lora_files.adapter import Adapter

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
# Only SDXL has several transformer blocks in a row, and only its UNet goes by Stability's names in LoRA files.
_DEEP = re.compile(r"\.transformer_blocks\.[1-9]")
_SGM = re.compile(r"(?:lora|oft)_unet_(input_blocks|middle_block|output_blocks|out_2|time_embed_|label_emb)")


def base_version(adapter: Adapter) -> str:
    """sd_v1, sd_v2, sdxl or unknown.

    What the metadata says counts first, then the names' prefixes in the file, then the shapes. "unknown": none of
    them tells, as where only self-attention is adapted.
    """
    return _by_metadata(adapter) or adapter.base or _by_layers(adapter) or _by_encoder(adapter) or "unknown"


def base_of_names(names: Iterable[str], adapter: Adapter) -> str | None:
    """What the layers' names in a kohya file say: "sdxl", or None where they say nothing.

    Args:
        adapter: what was read from it. diffusers' converter gives Stable Diffusion 1.5 SDXL's prefix lora_te1_, so
            that this prefix counts less than the UNet's shapes.
    """
    names = list(names)
    if any(_SGM.match(name) or name.startswith("lora_te2_") for name in names):
        return "sdxl"
    if any(name.startswith("lora_te1_") for name in names) and _by_layers(adapter) in (None, "sdxl"):
        return "sdxl"
    return None


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
