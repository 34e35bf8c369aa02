"""cloneofsimo's numbered layers against the networks themselves, walked as its own code walks them."""

import json

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from lorakiln.artefacts.tensor_files import save_tensors
from lorakiln.console.errors import UserError
from lorakiln.lora_files.reading import read_lora

UNET, TEXT = ["CrossAttention", "Attention", "GEGLU"], ["CLIPAttention"]


def walked(network, classes):
    """(name, (out, in)) of the linear layers within modules of these classes, in their order."""
    for outer, block in network.named_modules():
        if type(block).__name__ in classes:
            for inner, module in block.named_modules():
                if isinstance(module, nn.Linear):
                    yield f"{outer}.{inner}", tuple(module.weight.shape)


@pytest.fixture(scope="module", params=[768, 1024])
def networks(request):
    """{part: its layers in order} of Stable Diffusion 1.5 and 2.1, at full size."""
    width = request.param
    heads = {"hidden_size": width, "num_attention_heads": width // 64, "intermediate_size": 4 * width}
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=width)
        text = CLIPTextModel(CLIPTextConfig(num_hidden_layers=12 if width == 768 else 23, **heads))
    encoder = [(f"text_model.{name.removeprefix('text_model.')}", shape) for name, shape in walked(text, TEXT)]
    return {"unet": list(walked(unet, UNET)), "text_encoder": encoder}


def write(path, networks, metadata=None):
    """Each layer's number is in its numbers, so that one taken for another shows."""
    tensors = {}
    for part, layers in networks.items():
        for number, (_, (out, into)) in enumerate(layers):
            tensors[f"{part}:{number}:up"] = torch.full((out, 1), 1.0 + number)
            tensors[f"{part}:{number}:down"] = torch.ones(1, into)
    known = {"unet": json.dumps(UNET), "text_encoder": json.dumps(TEXT)} if metadata is None else metadata
    save_tensors(path, tensors, known)
    return path


def check(path, networks):
    found = read_lora(path)
    expected = {f"{part}.{name}": 1.0 + at for part, layers in networks.items() for at, (name, _) in enumerate(layers)}
    assert found.form == "cloneofsimo"
    assert {name: float(layer.delta()[0, 0]) for name, layer in found.adapter.layers.items()} == expected


def earlier(layers):
    """The order of the first diffusers: the feed-forward layer before the cross-attention."""
    blocks = [layers[at : at + 9] for at in range(0, len(layers), 9)]
    assert all(block[8][0].endswith("ff.net.0.proj") for block in blocks)
    return [layer for block in blocks for layer in (*block[:4], block[8], *block[4:8])]


def test_every_number_is_the_layer_that_the_networks_have_there(tmp_path, networks):
    assert len(networks["unet"]) == 144 and len(networks["text_encoder"]) in (48, 92)
    check(write(tmp_path / "x.safetensors", networks), networks)


def test_the_order_of_older_diffusers_is_told_by_the_shapes(tmp_path, networks):
    older = {"unet": earlier(networks["unet"])}
    check(write(tmp_path / "x.safetensors", older), older)


def test_attention_alone(tmp_path, networks):
    only = {"unet": [layer for layer in networks["unet"] if ".ff." not in layer[0]]}
    check(write(tmp_path / "x.safetensors", only, {"unet": json.dumps(["CrossAttention"])}), only)


@pytest.mark.parametrize(
    ("change", "metadata", "said"),
    [
        (lambda layers: layers[:-1], None, "143 numbered layers of the unet fit no order"),
        (lambda layers: [*layers[9:18], *layers[:9], *layers[18:-9], *layers[:9]], None, "fit no order"),
        (lambda layers: layers, {}, "does not say which classes"),
        (lambda layers: layers, {"unet": "{"}, "not JSON"),
        (lambda layers: layers, {"unet": '["ResnetBlock2D", "Attention", "GEGLU"]'}, "fit no order"),
        (lambda layers: layers, {"unet": '["Attention"]'}, "fit no order"),
    ],
)
def test_where_the_order_is_not_certain_nothing_is_guessed(tmp_path, networks, change, metadata, said):
    path = write(tmp_path / "x.safetensors", {"unet": change(networks["unet"])}, metadata)
    with pytest.raises(UserError, match=said):
        read_lora(path)


def test_an_embedding_beside_it_is_read(tmp_path, networks):
    path = write(tmp_path / "x.safetensors", {"text_encoder": networks["text_encoder"]})
    from safetensors.torch import load_file

    save_tensors(path, {**load_file(path), "<s1>": torch.ones(768)}, {"text_encoder": json.dumps(TEXT)})
    found = read_lora(path).adapter
    assert found.embeddings["<s1>"].vectors["text_encoder"].shape == (1, 768)
    assert {name.split(".")[0] for name in found.layers} == {"text_encoder"}
