"""Adapters with random weights, and what a network predicts."""

import copy

import pytest
import torch

from lorakiln.adapters.adapter import Adapter, Layer

RANKS, ALPHAS = (2, 3, 4), (1.0, 2.0, 3.0, 4.0)


@pytest.fixture
def family(micro_model):
    """A micro model of the test's own, to put adapters on."""
    from lorakiln.families import load_family

    return load_family(micro_model)


@pytest.fixture
def adapter(micro_family):
    return random_adapter(micro_family)


def random_adapter(family, ranks=(4,), alphas=(2.0,)):
    """On every module that kohya adapts, linear layers and 1x1 convolutions; ranks and alphas in turn."""
    generator = torch.Generator().manual_seed(0)
    layers = {}
    for number, name in enumerate(family.target_modules("kohya")):
        weight = family.network.get_submodule(name).weight
        rank, alpha = ranks[number % len(ranks)], alphas[number % len(alphas)]
        down = torch.randn(rank, *weight.shape[1:], generator=generator) * 0.3
        up = torch.randn(weight.shape[0], rank, *(1,) * (weight.ndim - 2), generator=generator) * 0.3
        layers[f"{family.part}.{name}"] = Layer(down, up, alpha)
    return Adapter(layers)


@torch.no_grad()
def predict(network, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 4, 8, 8, generator=generator).to(dtype)
    text = torch.randn(2, 32, 24, generator=generator).to(dtype)
    return network(latents, torch.tensor([10, 500]), text, return_dict=False)[0]


@torch.no_grad()
def predict_merged(family, adapter, weight=1.0):
    """What the network predicts with the updates added to its weights: the reference for all other ways."""
    network = copy.deepcopy(family.network)
    for name, layer in adapter.layers.items():
        network.get_submodule(name.removeprefix("unet.")).weight += weight * layer.delta()
    return predict(network)
