"""Networks that carry adapters: a LoRA as a model's UNet, and each kind that can be trained."""

import copy

import torch

from lorakiln.adapters.networks import AdaptedNetworks
from lorakiln.adapters.protocol import find_trained_kind
from lorakiln.schema.adapters import ADAPTERS

# A linear layer, a 1x1 and a 3x3 convolution, and one of stride 2.
ENDS = ("attn1.to_q", "attn2.to_k", "ff.net.2", "proj_in", "conv1", "downsamplers.0.conv")
PAIR = {"rank": 4, "alpha": 2.0}
KINDS = {
    "lora": {"kind": "lora", **PAIR},
    "lora gaussian": {"kind": "lora", **PAIR, "init": "gaussian"},
    "lora pissa": {"kind": "lora", **PAIR, "init": "pissa"},
    "lora olora": {"kind": "lora", **PAIR, "init": "olora"},
    "lora patterns": {
        "kind": "lora",
        **PAIR,
        "rank_pattern": {"*.conv1": 2, "attn1.to_q": 3},
        "alpha_pattern": {"conv1": 1.0},
    },
    "rslora": {"kind": "rslora", **PAIR, "rank_pattern": {"proj_in": 2}},
    "dora": {"kind": "dora", **PAIR, "rank_pattern": {"conv1": 2}},
    "loha": {"kind": "loha", **PAIR, "alpha_pattern": {"conv1": 3.0}},
    "lokr": {"kind": "lokr", "rank": 2, "alpha": 3.0, "factor": 4},
    "lokr both": {"kind": "lokr", "rank": 1, "alpha": 2.0, "factor": -1, "decompose_both": True},
    "lokr full": {"kind": "lokr", "rank": 2, "alpha": 3.0, "factor": 4, "full_matrix": True},
    "oft": {"kind": "oft", "rank": 4, "alpha": 4.0, "rescale": True},
    "oft constraint": {"kind": "oft", "rank": 4, "alpha": 4.0, "constraint": 0.01},
    "boft": {"kind": "boft", "rank": 4, "alpha": 4.0},
    "ia3": {"kind": "ia3", "rank": 1, "alpha": 1.0, "on_input": ["ff.net.2", "conv1"]},
}


def settings_of(**given):
    return ADAPTERS.settings(given["kind"])(**given)


def names_in(network):
    return [name for name, _ in network.named_modules() if name.endswith(ENDS)]


def put(network, settings, seed=0):
    """The kind, and a copy of the network that carries it."""
    carrying, kind = copy.deepcopy(network), find_trained_kind(settings.kind)
    kind.put_on(carrying, names_in(network), settings, seed)
    return kind, carrying


def stir(network, seed=1):
    """Random numbers in place of the adapter's first ones, those around 1 near what they were."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                near = 0.05 if "dora_scale" in name or "rescale" in name else 0.2
                parameter.add_(near * torch.randn(parameter.shape, generator=generator))


def draw(network):
    generator = torch.Generator().manual_seed(2)
    noisy = torch.randn(2, network.config.in_channels, 8, 8, generator=generator)
    text = torch.randn(2, 7, network.config.cross_attention_dim, generator=generator)
    return network(noisy, torch.tensor([10, 500]), encoder_hidden_states=text).sample


def adapted(network):
    return AdaptedNetworks(find_trained_kind("lora"), {"unet": network}, "unet")
