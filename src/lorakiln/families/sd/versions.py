"""Stable Diffusion 1.x and 2.x: what they are called, and the published configs of their parts.

Facts of the models' own repositories; the tests compare the parts' sizes with the published ones.
"""

from dataclasses import replace
from typing import Any

from lorakiln.families.versions import END, Architecture, BaseVersion, Config, Layout

UNET, VAE = "model.diffusion_model.", "first_stage_model."  # how a part's tensors begin in a single file


def make_unet_config(levels: tuple[int, ...], attention: tuple[bool, ...], **more: Any) -> Config:
    """Of a UNet2DConditionModel with so many channels at each level, and attention where it is said."""
    down = ["CrossAttnDownBlock2D" if has else "DownBlock2D" for has in attention]
    up = ["CrossAttnUpBlock2D" if has else "UpBlock2D" for has in reversed(attention)]
    return {
        "_class_name": "UNet2DConditionModel",
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 2,
        "block_out_channels": list(levels),
        "down_block_types": down,
        "up_block_types": up,
        **more,
    }


def make_vae_config(side: int, scale: float, **more: Any) -> Config:
    """Of an AutoencoderKL for pictures of `side` pixels, whose latents are multiplied by `scale`."""
    return {
        "_class_name": "AutoencoderKL",
        "in_channels": 3,
        "out_channels": 3,
        "latent_channels": 4,
        "sample_size": side,
        "block_out_channels": [128, 256, 512, 512],
        "layers_per_block": 2,
        "scaling_factor": scale,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        **more,
    }


def make_text_config(
    kind: str, width: int, layers: int, heads: int, act: str, projection: int, pad: int = 49407
) -> Config:
    """Of one of CLIP's text encoders, a class of transformers'."""
    return {
        "architectures": [kind],
        "model_type": "clip_text_model",
        "vocab_size": 49408,
        "max_position_embeddings": 77,
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "hidden_act": act,
        "num_attention_heads": heads,
        "projection_dim": projection,
        "layer_norm_eps": 1e-5,
        "bos_token_id": 49406,
        "eos_token_id": 49407,
        "pad_token_id": pad,
    }


CLIP_L = make_text_config("CLIPTextModel", 768, 12, 12, "quick_gelu", 768)
_LEVELS, _FOUR = (320, 640, 1280, 1280), (True, True, True, False)

LAYOUT = Layout(
    family="sd",
    title="Stable Diffusion 1.x or 2.x",
    network="unet",
    texts=("text_encoder",),
    tokenizers=("tokenizer",),
    networks={"unet": ("diffusers", "UNet2DConditionModel"), "text_encoder": ("transformers", "CLIPTextModel")},
)

SD1 = BaseVersion(
    name="sd1",
    title="Stable Diffusion 1.x",
    layout=LAYOUT,
    architecture=Architecture(
        "StableDiffusionPipeline",
        {
            "unet": make_unet_config(_LEVELS, _FOUR, cross_attention_dim=768, attention_head_dim=8, sample_size=64),
            "vae": make_vae_config(512, 0.18215),
            "text_encoder": CLIP_L,
        },
        {"unet": UNET, "vae": VAE, "text_encoder": "cond_stage_model.transformer."},
        {"tokenizer": END},
    ),
    kohya="sd_v1",
    kohya_stem="sd_v1",
    modelspec="stable-diffusion-v1",
    modelspec_stem="stable-diffusion-v1",
    implementation="diffusers",
    a1111="SD1",
    model="sd15",
    hub="stable-diffusion-v1-5/stable-diffusion-v1-5",
    prediction="epsilon",
    resolution=512,
    text_width=768,
    encoder_widths=(768,),
)
SD1_V = replace(SD1, kohya="sd_v1_v", model=None, hub=None, prediction="v_prediction")

SD2 = BaseVersion(
    name="sd2",
    title="Stable Diffusion 2.x",
    layout=LAYOUT,
    architecture=Architecture(
        "StableDiffusionPipeline",
        {
            # In half precision 2.1's attention overflows.
            "unet": make_unet_config(
                _LEVELS,
                _FOUR,
                cross_attention_dim=1024,
                attention_head_dim=[5, 10, 20, 20],
                sample_size=96,
                use_linear_projection=True,
                upcast_attention=True,
            ),
            "vae": make_vae_config(768, 0.18215),
            # The last of OpenCLIP ViT-H's 24 layers is never used.
            "text_encoder": make_text_config("CLIPTextModel", 1024, 23, 16, "gelu", 512, pad=0),
        },
        {"unet": UNET, "vae": VAE, "text_encoder": "cond_stage_model.model."},
        {"tokenizer": "!"},
    ),
    kohya="sd_v2",
    kohya_stem="sd_v2",
    modelspec="stable-diffusion-v2-512",
    modelspec_stem="stable-diffusion-v2",
    implementation="diffusers",
    a1111="SD2",
    model="sd21",
    hub=None,
    prediction="epsilon",
    resolution=512,
    text_width=1024,
    encoder_widths=(1024,),
)
SD2_V = replace(
    SD2,
    kohya="sd_v2_v",
    modelspec="stable-diffusion-v2-768-v",
    model="sd21_v",
    prediction="v_prediction",
    resolution=768,
)

VERSIONS = (SD1, SD1_V, SD2, SD2_V)
