"""Stable Diffusion XL: what it is called, and the published configs of its parts."""

from lorakiln.families.sd.versions import CLIP_L, UNET, VAE, make_text_config, make_unet_config, make_vae_config
from lorakiln.families.versions import END, Architecture, BaseVersion, Layout

LAYOUT = Layout(
    family="sdxl",
    title="Stable Diffusion XL",
    network="unet",
    texts=("text_encoder", "text_encoder_2"),
    tokenizers=("tokenizer", "tokenizer_2"),
    networks={
        "unet": ("diffusers", "UNet2DConditionModel"),
        "text_encoder": ("transformers", "CLIPTextModel"),
        "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
    },
)

SDXL = BaseVersion(
    name="sdxl",
    title="Stable Diffusion XL",
    layout=LAYOUT,
    architecture=Architecture(
        "StableDiffusionXLPipeline",
        {
            "unet": make_unet_config(
                (320, 640, 1280),
                (False, True, True),
                cross_attention_dim=2048,
                attention_head_dim=[5, 10, 20],
                sample_size=128,
                use_linear_projection=True,
                transformer_layers_per_block=[1, 2, 10],
                addition_embed_type="text_time",
                addition_time_embed_dim=256,
                projection_class_embeddings_input_dim=2816,
            ),
            "vae": make_vae_config(1024, 0.13025, force_upcast=True),
            "text_encoder": CLIP_L,
            "text_encoder_2": make_text_config("CLIPTextModelWithProjection", 1280, 32, 20, "gelu", 1280, pad=0),
        },
        {
            "unet": UNET,
            "vae": VAE,
            "text_encoder": "conditioner.embedders.0.transformer.",
            "text_encoder_2": "conditioner.embedders.1.model.",
        },
        {"tokenizer": END, "tokenizer_2": "!"},
        # It alone has several transformer blocks in a row; at the highest resolution it has none at all.
        layers=r"text_encoder_2\.|.*\.transformer_blocks\.[1-9]",
        foreign=r"unet\.(down_blocks\.0|up_blocks\.3)\.attentions\.",
        # sd-scripts names its UNet so, and other trainers those of Stable Diffusion 1.x and 2.x too. diffusers'
        # converter gives Stable Diffusion 1.5's text encoder this one's prefix.
        spelling=r"(?:lora|oft)_unet_(input_blocks|middle_block|output_blocks|out_2|time_embed_|label_emb)|lora_te[12]_",
    ),
    kohya="sdxl_base_v1-0",
    kohya_stem="sdxl",  # OneTrainer writes "sdxl_"
    modelspec="stable-diffusion-xl-v1-base",
    modelspec_stem="stable-diffusion-xl",
    implementation="https://github.com/Stability-AI/generative-models",
    a1111="SDXL",
    model="sdxl",
    hub="stabilityai/stable-diffusion-xl-base-1.0",
    prediction=None,
    resolution=1024,
    text_width=2048,
    encoder_widths=(768, 1280),
)

VERSIONS = (SDXL,)
