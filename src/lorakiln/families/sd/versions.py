"""The published configs of the families' parts, for single files, which hold weights alone.

Facts of the models' own repositories; the tests compare the parts' sizes with the published ones. Small by design: a
family's width, depth and attention are never guessed from the weights, which are checked against these.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lorakiln.families import layouts
from lorakiln.families.layouts import Layout

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Architecture:
    """A kind of base model: its parts in diffusers' layout, and where single files keep them.

    Attributes:
        title: for people.
        models: the settings that suit it.
        pipeline: diffusers' class.
        parts: config by folder: unet, vae, text_encoder, ...
        prefixes: of each part's tensors in a single file.
        pads: by tokenizer's folder the token that fills a text up.
    """

    layout: Layout
    title: str
    models: str
    pipeline: str
    parts: Mapping[str, Config]
    prefixes: Mapping[str, str]
    pads: Mapping[str, str]


END = "<|endoftext|>"
UNET, VAE = "model.diffusion_model.", "first_stage_model."


def _unet(levels: tuple[int, ...], attention: tuple[bool, ...], **more: Any) -> Config:
    down = ["CrossAttnDownBlock2D" if has else "DownBlock2D" for has in attention]
    up = ["CrossAttnUpBlock2D" if has else "UpBlock2D" for has in reversed(attention)]
    return {
        "_class_name": "UNet2DConditionModel", "in_channels": 4, "out_channels": 4, "layers_per_block": 2,
        "block_out_channels": list(levels), "down_block_types": down, "up_block_types": up, **more,
    }  # fmt: skip


def _vae(side: int, scale: float, **more: Any) -> Config:
    return {
        "_class_name": "AutoencoderKL", "in_channels": 3, "out_channels": 3, "latent_channels": 4, "sample_size": side,
        "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "scaling_factor": scale,
        "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4, **more,
    }  # fmt: skip


def _text(kind: str, width: int, layers: int, heads: int, act: str, projection: int, pad: int = 49407) -> Config:
    return {
        "architectures": [kind], "model_type": "clip_text_model", "vocab_size": 49408, "max_position_embeddings": 77,
        "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers, "hidden_act": act,
        "num_attention_heads": heads, "projection_dim": projection, "layer_norm_eps": 1e-5,
        "bos_token_id": 49406, "eos_token_id": 49407, "pad_token_id": pad,
    }  # fmt: skip


_CLIP_L = _text("CLIPTextModel", 768, 12, 12, "quick_gelu", 768)
_FOUR, _THREE = (True, True, True, False), (False, True, True)

SD1 = Architecture(
    layouts.SD, "Stable Diffusion 1.x", "model=sd15", "StableDiffusionPipeline",
    {
        "unet": _unet((320, 640, 1280, 1280), _FOUR, cross_attention_dim=768, attention_head_dim=8, sample_size=64),
        "vae": _vae(512, 0.18215), "text_encoder": _CLIP_L,
    },
    {"unet": UNET, "vae": VAE, "text_encoder": "cond_stage_model.transformer."}, {"tokenizer": END},
)  # fmt: skip

# The last of OpenCLIP ViT-H's 24 layers is never used; in half precision 2.1's attention overflows.
SD2 = Architecture(
    layouts.SD, "Stable Diffusion 2.x", "model=sd21 or model=sd21_v", "StableDiffusionPipeline",
    {
        "unet": _unet(
            (320, 640, 1280, 1280), _FOUR, cross_attention_dim=1024, attention_head_dim=[5, 10, 20, 20],
            sample_size=96, use_linear_projection=True, upcast_attention=True,
        ),
        "vae": _vae(768, 0.18215), "text_encoder": _text("CLIPTextModel", 1024, 23, 16, "gelu", 512, pad=0),
    },
    {"unet": UNET, "vae": VAE, "text_encoder": "cond_stage_model.model."}, {"tokenizer": "!"},
)  # fmt: skip

SDXL = Architecture(
    layouts.SDXL, "Stable Diffusion XL", "model=sdxl", "StableDiffusionXLPipeline",
    {
        "unet": _unet(
            (320, 640, 1280), _THREE, cross_attention_dim=2048, attention_head_dim=[5, 10, 20], sample_size=128,
            use_linear_projection=True, transformer_layers_per_block=[1, 2, 10], addition_embed_type="text_time",
            addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
        ),
        "vae": _vae(1024, 0.13025, force_upcast=True), "text_encoder": _CLIP_L,
        "text_encoder_2": _text("CLIPTextModelWithProjection", 1280, 32, 20, "gelu", 1280, pad=0),
    },
    {
        "unet": UNET, "vae": VAE, "text_encoder": "conditioner.embedders.0.transformer.",
        "text_encoder_2": "conditioner.embedders.1.model.",
    },
    {"tokenizer": END, "tokenizer_2": "!"},
)  # fmt: skip

ARCHITECTURES = {"sd1": SD1, "sd2": SD2, "sdxl": SDXL}


def of_family(family: str) -> Architecture:
    """The first architecture of a family; where they differ, its VAE is that of all."""
    return next(one for one in ARCHITECTURES.values() if one.layout.family == family)
