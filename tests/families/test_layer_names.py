"""kohya's names against the architectures themselves, at full size on the meta device."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from lorakiln.families import layer_names
from lorakiln.families import sd as sd_family
from lorakiln.families import sdxl as sdxl_family
from lorakiln.families.sd.presets import PRESETS

SDXL = {
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "transformer_layers_per_block": [1, 2, 10],
    "attention_head_dim": [5, 10, 20],
    "cross_attention_dim": 2048,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "use_linear_projection": True,
}


@pytest.fixture(scope="module")
def sd15():
    with torch.device("meta"):
        return UNet2DConditionModel(cross_attention_dim=768)


@pytest.fixture(scope="module")
def sdxl():
    with torch.device("meta"):
        return UNet2DConditionModel(**SDXL)


def test_the_presets_have_kohyas_counts(sd15, sdxl):
    assert len(PRESETS["attention"](sd15)) == 128
    assert len(PRESETS["attention"](sdxl)) == 560
    assert len(PRESETS["kohya"](sd15)) == 192
    assert len(PRESETS["kohya"](sdxl)) == 722


def test_locon_adds_the_residual_blocks_and_nothing_else(sd15):
    more = set(PRESETS["locon"](sd15)) - set(PRESETS["kohya"](sd15))
    # 22 blocks of two convolutions and a time projection, 14 shortcuts, 3 ways down, 3 ways up
    assert len(more) == 22 * 3 + 14 + 3 + 3
    assert not [name for name in more if ".attentions." in name or name in ("conv_in", "conv_out")]


@pytest.mark.parametrize("which", ["sd15", "sdxl"])
def test_every_module_has_a_name_of_its_own_that_leads_back(which, request):
    network = request.getfixturevalue(which)
    modules = [n for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    spelled = [(sdxl_family if which == "sdxl" else sd_family).kohya_name(f"unet.{name}") for name in modules]
    assert len(set(spelled)) == len(modules)
    assert [layer_names.module_of(name) for name in spelled] == [f"unet.{name}" for name in modules]


@pytest.mark.parametrize(
    ("module", "name"),
    [
        # Known names from published SDXL LoRAs' key lists.
        (
            "unet.down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k",
            "lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_k",
        ),
        ("unet.down_blocks.2.attentions.1.proj_in", "lora_unet_input_blocks_8_1_proj_in"),
        (
            "unet.mid_block.attentions.0.transformer_blocks.9.ff.net.0.proj",
            "lora_unet_middle_block_1_transformer_blocks_9_ff_net_0_proj",
        ),
        ("unet.mid_block.resnets.1.conv2", "lora_unet_middle_block_2_out_layers_3"),
        (
            "unet.up_blocks.1.attentions.2.transformer_blocks.0.attn1.to_out.0",
            "lora_unet_output_blocks_5_1_transformer_blocks_0_attn1_to_out_0",
        ),
        ("unet.up_blocks.0.upsamplers.0.conv", "lora_unet_output_blocks_2_2_conv"),
        ("unet.down_blocks.0.downsamplers.0.conv", "lora_unet_input_blocks_3_0_op"),
        (
            "text_encoder.text_model.encoder.layers.3.mlp.fc1",
            "lora_te1_text_model_encoder_layers_3_mlp_fc1",
        ),
        (
            "text_encoder_2.text_model.encoder.layers.31.self_attn.out_proj",
            "lora_te2_text_model_encoder_layers_31_self_attn_out_proj",
        ),
    ],
)
def test_sdxl_names(module, name):
    assert sdxl_family.kohya_name(module) == name
    assert layer_names.module_of(name) == module


def test_sd_text_encoders_are_lora_te_with_and_without_transformers_outer_level():
    name = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
    for module in (
        "text_encoder.text_model.encoder.layers.0.self_attn.q_proj",
        "text_encoder.encoder.layers.0.self_attn.q_proj",
    ):
        assert sd_family.kohya_name(module) == name
        assert layer_names.to_canonical_name(module) == layer_names.module_of(name)


@pytest.mark.parametrize("name", ["lora_te2_text_projection", "lora_te2_text_model_text_projection"])
def test_the_projection_has_one_name_however_it_is_spelled(name):
    module = "text_encoder_2.text_projection"
    assert layer_names.module_of(name) == layer_names.to_canonical_name(module) == module
    assert layer_names.to_canonical_name("text_encoder_2.text_model.text_projection") == module
    assert sdxl_family.kohya_name(module) == "lora_te2_text_projection"


@pytest.mark.parametrize("which", ["sd15", "sdxl"])
def test_every_module_of_the_networks_is_known(which, request):
    network = request.getfixturevalue(which)
    modules = [n for n, m in network.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert len(modules) > 250
    assert [name for name in modules if not layer_names.known(f"unet.{name}")] == []


@pytest.mark.parametrize(
    "module",
    [
        "unet.foo.bar.attn2.to_k",
        "unet.transformer.single_transformer_blocks.0.attn.to_q",
        "unet.transformer_blocks.0.attn1.to_q",
        "unet.down_blocks.0.motion.0.x",
        "unet.down_blocks.0.resnets.0.to_q",
        "unet.to_q",
        "text_encoder_2.text_model.encoder.block.0.layer.0",
        "text_encoder_3.text_projection",
        "transformer.to_q",
    ],
)
def test_modules_of_other_networks_are_not(module):
    assert not layer_names.known(module)


@pytest.mark.parametrize("name", ["lora_unet_single_blocks_0_linear1", "lora_transformer_x", "something", "lora_unet_"])
def test_what_is_no_unets_name_is_none(name):
    assert layer_names.module_of(name) is None


def test_what_sgm_does_not_name_is_refused():
    with pytest.raises(ValueError, match="no module"):
        sdxl_family.kohya_name("vae.decoder")
    with pytest.raises(ValueError, match="no name"):
        sdxl_family.kohya_name("unet.down_blocks.0.motion.0.x")
