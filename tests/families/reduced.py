"""Random models with a family's true topology and a fraction of its width, in diffusers' layout."""

from collections.abc import Sequence
from pathlib import Path

from tests.conftest import END, SCHEDULER, START, TOKENS, write_micro_tokenizer, write_text

INDEX = {
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
SD_INDEX = {"_class_name": "StableDiffusionPipeline", **INDEX}
SDXL_INDEX = {
    "_class_name": "StableDiffusionXLPipeline",
    **INDEX,
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
}
KINDS = ("sd15", "sd21", "sd21_v", "sdxl")


def write_reduced(folder: Path, kind: str, seed: int = 0, layers: Sequence[int] = (1, 2, 10)) -> Path:
    """Write a reduced model of one of KINDS.

    sd15 and sd21 have four levels, attention on three of them, the projections convolutions or linear; sdxl has three
    with 0, 2 and 10 transformer layers (the last two of `layers`), and two text encoders. Their pictures' sides are
    multiples of 32 and 16 pixels.
    """
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    # As the real ones: Stable Diffusion 2.x and SDXL's second encoder pad with "!", the others with the end's token.
    vocabulary = write_micro_tokenizer(folder / "tokenizer", "!" if kind.startswith("sd21") else END)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = {
            "vae": AutoencoderKL(
                down_block_types=("DownEncoderBlock2D",) * 3,
                up_block_types=("UpDecoderBlock2D",) * 3,
                block_out_channels=(8, 8, 16),
                layers_per_block=1,
                norm_num_groups=4,
                latent_channels=4,
                sample_size=32,
                scaling_factor=0.5,
                force_upcast=kind == "sdxl",
            ),
            "text_encoder": CLIPTextModel(_text(vocabulary, 24)),
        }
        if kind == "sdxl":
            write_micro_tokenizer(folder / "tokenizer_2", "!")
            parts["text_encoder_2"] = CLIPTextModelWithProjection(_text(vocabulary, 40, projection=20))
            parts["unet"] = UNet2DConditionModel(
                sample_size=8,
                block_out_channels=(8, 16, 24),
                layers_per_block=2,
                norm_num_groups=4,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                transformer_layers_per_block=list(layers),
                attention_head_dim=[1, 2, 3],
                cross_attention_dim=64,
                use_linear_projection=True,
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=6 * 8 + 20,
            )
        else:
            parts["unet"] = UNet2DConditionModel(
                sample_size=16,
                block_out_channels=(8, 16, 16, 16),
                layers_per_block=2,
                norm_num_groups=4,
                down_block_types=(*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
                up_block_types=("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
                cross_attention_dim=24,
                attention_head_dim=2 if kind == "sd15" else [1, 2, 2, 2],
                use_linear_projection=kind != "sd15",
            )
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    prediction = "v_prediction" if kind == "sd21_v" else "epsilon"
    write_text(folder / "scheduler" / "scheduler_config.json", {**SCHEDULER, "prediction_type": prediction})
    write_text(
        folder / "model_index.json", {"_diffusers_version": "0.42.1", **(SDXL_INDEX if kind == "sdxl" else SD_INDEX)}
    )
    return folder


def _text(vocabulary: dict[str, int], width: int, projection: int | None = None):
    from transformers import CLIPTextConfig

    return CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
        projection_dim=projection or width,
        bos_token_id=vocabulary[START],
        eos_token_id=vocabulary[END],
        pad_token_id=vocabulary[END],
    )
