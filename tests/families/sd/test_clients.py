"""What each client finds under the keys that we write, at full size on the meta device, and in reduced models."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from lorakiln.families import sd, sdxl
from lorakiln.families.sd.clients import client_keys
from tests.families.test_layer_names import SDXL

LARGE = {"hidden_size": 1280, "num_hidden_layers": 32, "num_attention_heads": 20, "intermediate_size": 5120}


@pytest.fixture(scope="module", params=["sd1", "sd2", "sdxl"])
def model(request):
    """(network, text encoders, is it SDXL)"""
    with torch.device("meta"):
        encoders = {"text_encoder": CLIPTextModel(CLIPTextConfig(hidden_size=768, num_attention_heads=12))}
        if request.param == "sdxl":
            encoders["text_encoder_2"] = CLIPTextModelWithProjection(CLIPTextConfig(**LARGE))
            network = UNet2DConditionModel(**SDXL)
        else:
            network = UNet2DConditionModel(use_linear_projection=request.param == "sd2")
    return network, encoders, request.param == "sdxl"


def layers(model):
    network, encoders, _ = model
    for part, module in (("unet", network), *encoders.items()):
        for name, inner in module.named_modules():
            if isinstance(inner, nn.Linear | nn.Conv2d) and name != "text_projection":
                level = "text_model." if part != "unet" and not name.startswith("text_model.") else ""
                yield f"{part}.{level}{name}"


@pytest.mark.parametrize("client", ["kohya", "A1111", "ComfyUI"])
def test_every_layer_is_found_under_the_key_that_is_written(model, client):
    keys = client_keys(model[0], model[1], model[2])[client]
    every = list(layers(model))
    assert len(every) > 350
    # A1111 has no pattern for SDXL's size and crop; nobody adapts them.
    strange = [name for name in every if keys.get((sdxl if model[2] else sd).kohya_name(name)) != name]
    assert strange == []


def test_the_projection_is_comfyuis_alone(model):
    found = client_keys(model[0], model[1], model[2])
    # comfy/lora.py, model_lora_keys_clip: without the level "text_model", which every other layer has.
    key, module = "lora_te2_text_projection", "text_encoder_2.text_projection"
    assert {client: keys.get(key) for client, keys in found.items()} == {
        "kohya": None,
        "A1111": None,
        "ComfyUI": module if model[2] else None,
    }
    if model[2]:
        assert sdxl.kohya_name(module) == key
        assert module.partition(".")[2] in dict(model[1]["text_encoder_2"].named_modules())


def test_only_sdxl_knows_two_encoders(model):
    found = client_keys(model[0], model[1], model[2])
    prefixes = {key.split("_text_")[0] for key in found["ComfyUI"] if "_te" in key[:9]}
    assert prefixes == ({"lora_te1", "lora_te2"} if model[2] else {"lora_te"})
    count = 12 * 6 + 32 * 6 if model[2] else 12 * 6
    in_layers = [key for key in found["kohya"] if "_text_model_encoder_" in key]
    assert len(in_layers) == count


def test_diffusers_names_of_sdxl_are_no_keys_of_kohya_but_of_the_others(model):
    network, encoders, sdxl = model
    key = "lora_unet_up_blocks_1_attentions_0_proj_in"
    found = client_keys(network, encoders, sdxl)
    assert (key in found["kohya"]) is not sdxl
    assert found["ComfyUI"][key] == found["A1111"][key] == "unet.up_blocks.1.attentions.0.proj_in"


def test_networks_that_a1111_cannot_load_have_no_keys_of_its():
    network = UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    assert set(client_keys(network, {}, False)) == {"kohya", "ComfyUI"}
