"""Against peft's own layer."""

import copy

import pytest
import torch
from peft.tuners.lora import Linear
from torch import nn
from torch.utils.checkpoint import checkpoint

from lorakiln.adapters import lora_network
from lorakiln.adapters.lora_initialisation import NAME
from lorakiln.adapters.lora_product import LoraLinear
from lorakiln.schema.adapters.lora import LoraSettings
from lorakiln.train.quantized_layers import quantize_layers

IN, OUT = 12, 20


def make_layer(dtype=torch.float32, before=lambda network: None, bias=True, **settings):
    """A linear layer with LoRA whose factors are both drawn."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(IN, OUT, bias)).requires_grad_(False).to(dtype)
        before(network)
        lora_network.put_pairs(network, ["0"], LoraSettings(**{"rank": 4, "alpha": 6.0, **settings}), seed=1)
        nn.init.normal_(network[0].lora_B[NAME].weight)
    return network[0]


def make_inputs(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(2)).to(dtype).requires_grad_()


def make_peft(layer):
    """The same layer, computed by peft."""
    found = copy.deepcopy(layer)
    found.__class__ = Linear
    return found


def compute(layer, x, times=lambda layer, x: layer(x)):
    """What it gives, and the gradients of x, A and B of a sum that weighs every number otherwise."""
    layer.zero_grad()
    x = x.detach().requires_grad_(x.requires_grad)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        y = times(layer, x)
    (y.float() * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
    return [y.detach(), x.grad, layer.lora_A[NAME].weight.grad, layer.lora_B[NAME].weight.grad]


def measure(one, other):
    """How far they are apart, as a share of the second."""
    return float((one.double() - other).norm() / other.norm())


def is_ours(layer, x):
    return "_LoraProduct" in type(layer(x).grad_fn).__name__ + str(layer(x).grad_fn.next_functions)


@pytest.mark.parametrize("shape", [(IN,), (7, IN), (2, 7, IN)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_gives_pefts_numbers_and_gradients(shape, bias):
    layer, x = make_layer(bias=bias), make_inputs(*shape)
    assert type(layer) is LoraLinear and is_ours(layer, x) and not is_ours(make_peft(layer), x)
    results = compute(layer, x), compute(make_peft(layer), x), compute(make_peft(layer).double(), x.double())
    for ours, theirs, exact in zip(*results, strict=True):
        assert measure(ours, exact) <= 2 * measure(theirs, exact) + 1e-8
        assert measure(ours, theirs) < 1e-6


def test_states_in_another_order_of_memory_and_frozen_ones():
    layer = make_layer()
    turned = make_inputs(IN, 5, 3).detach().permute(2, 1, 0)
    for x in (turned, turned.clone().requires_grad_()):
        for ours, theirs in zip(compute(layer, x), compute(make_peft(layer), x), strict=True):
            assert (ours is theirs is None) or measure(ours, theirs) < 1e-6


def test_a_frozen_factor_has_no_gradient():
    layer, x = make_layer(), make_inputs(3, IN)
    layer.lora_A[NAME].requires_grad_(False)
    of_down, of_up = compute(layer, x)[2:]
    assert of_down is None and of_up is not None


def test_only_its_input_and_the_lower_states_are_kept():
    layer, x, kept = make_layer(), make_inputs(30, IN), []
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one):
        layer(x)
    weights = {weight.data_ptr() for weight in layer.parameters()}
    states = [tuple(one.shape) for one in kept if one.data_ptr() not in weights]
    assert sorted(states) == [(30, 4), (30, IN)]


def test_checkpointing_gives_the_same_bits():
    layer, x = make_layer(), make_inputs(2, 7, IN)
    again = compute(layer, x, lambda layer, x: checkpoint(layer, x, use_reentrant=False))
    assert all(map(torch.equal, compute(layer, x), again))


def quantize(network):
    quantize_layers(network, "int8", torch.device("cpu"))


@pytest.mark.parametrize(
    "given",
    [
        {"dropout": 0.5},
        {"rank_dropout": 0.5},
        {"module_dropout": 0.5},
        {"init": "pissa"},
        {"before": quantize},
        {"dtype": torch.bfloat16},
    ],
)
def test_what_is_more_than_one_pair_is_computed_by_peft(given):
    layer, dtype = make_layer(**given), given.get("dtype", torch.float32)
    x = make_inputs(5, IN, dtype=dtype)
    assert not is_ours(layer, x)
    assert all(map(torch.equal, compute(layer, x), compute(make_peft(layer), x)))


def in_autocast(layer, x):
    with torch.autocast("cpu", torch.bfloat16):
        return layer(x)


def turned_off(layer, x):
    layer.enable_adapters(False)
    try:
        return layer(x).requires_grad_()
    finally:
        layer.enable_adapters(True)


def with_a_hook(layer, x):
    with layer.base_layer.register_forward_hook(lambda module, inputs, output: 2 * output):
        return layer(x)


def merged(layer, x):
    layer.merge()
    try:
        return layer(x).requires_grad_()
    finally:
        layer.unmerge()


@pytest.mark.parametrize("way", [in_autocast, turned_off, with_a_hook, merged])
def test_a_call_that_is_another_is_pefts(way):
    layer, x = make_layer(), make_inputs(5, IN)
    with torch.no_grad():
        expected = way(make_peft(layer), x)
        # A merged weight does what the factors do, which then must not do it again.
        assert torch.allclose(expected.float(), layer(x), atol=1e-5) == (way is merged)
        assert torch.equal(way(layer, x), expected)


def test_at_another_weight_the_change_is_so_many_times_as_large():
    layer, x = make_layer(), make_inputs(5, IN)
    base, once = layer.base_layer(x), layer(x)
    with lora_network.at_weight(nn.Sequential(layer), 0.25):
        torch.testing.assert_close(layer(x) - base, 0.25 * (once - base))
