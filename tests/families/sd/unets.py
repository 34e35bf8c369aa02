"""Random UNets with the topology of Stable Diffusion's and of SDXL's, a few channels wide."""

import torch
from diffusers import UNet2DConditionModel

KINDS = ("sd15", "sd21", "sdxl")
CELLS, TOKENS, WIDTH = 8, 5, 12


def make_unet(kind: str) -> UNet2DConditionModel:
    """One of KINDS, frozen; its latents have 4 channels and CELLS x CELLS cells."""
    down = ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"]
    more = {}
    if kind == "sdxl":
        down = ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"]
        more = {
            "transformer_layers_per_block": [1, 1, 2],
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 2,
            "projection_class_embeddings_input_dim": 6 * 2 + 4,
        }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = UNet2DConditionModel(
            sample_size=CELLS,
            block_out_channels=(8, 8, 16),
            layers_per_block=1,
            norm_num_groups=4,
            down_block_types=down,
            up_block_types=[name.replace("Down", "Up") for name in reversed(down)],
            cross_attention_dim=WIDTH,
            attention_head_dim=2,
            use_linear_projection=kind != "sd15",
            **more,
        )
    return network.eval().requires_grad_(False)


def make_inputs(network: UNet2DConditionModel, rows: int) -> dict[str, object]:
    """What a call of the network takes: other latents, times and texts in each row."""
    generator = torch.Generator().manual_seed(1)
    told = {
        "sample": torch.randn(rows, 4, CELLS, CELLS, generator=generator),
        "timestep": torch.arange(rows) * 100 + 7,
        "encoder_hidden_states": torch.randn(rows, TOKENS, WIDTH, generator=generator),
        "return_dict": False,
    }
    if network.config.addition_embed_type:
        texts = torch.randn(rows, 4, generator=generator)
        told["added_cond_kwargs"] = {"text_embeds": texts, "time_ids": torch.ones(rows, 6)}
    return told
