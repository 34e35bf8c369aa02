"""Gradients through our blocks against those through diffusers' own."""

import pytest
import torch
from diffusers.models.upsampling import Upsample2D
from torch.utils.checkpoint import checkpoint

from lorakiln.adapters import lora_network
from lorakiln.families.sd.blocks import REPLACED, Upsample, replacing_blocks
from lorakiln.families.sd.drawing import drawing_batch
from lorakiln.families.sd.presets import PRESETS
from tests.families.sd.unets import KINDS, make_inputs, make_unet


def make_trained(kind, preset="attention"):
    """A UNet in channels_last that is trained, with a LoRA whose factors are both drawn."""
    network = make_unet(kind).to(memory_format=torch.channels_last)
    lora_network.wrap(network, PRESETS[preset](network), 2, 2.0, 0.0, seed=0)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for layer in lora_network.layers_on(network).values():
            up = layer.lora_B["default"].weight
            up.copy_(torch.randn(up.shape, generator=generator) / 4)
    return network.train()


def compute(network):
    """What the network gives, and the gradients of its LoRA by name."""
    network.zero_grad()
    found = network(**make_inputs(network, 3))[0]
    found.square().mean().backward()
    gradients = {name: one.grad for name, one in network.named_parameters() if one.requires_grad}
    return {"": found.detach(), **gradients}


def assert_same(ours, theirs, share):
    """Within this share of all gradients' length; and of the output's."""
    assert ours.keys() == theirs.keys()
    for names in ([""], [name for name in theirs if name]):
        one, other = (torch.cat([found[name].flatten() for name in names]) for found in (ours, theirs))
        assert (one - other).norm() <= share * other.norm() and other.norm() > 1e-6


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", ["attention", "locon"])
def test_a_trained_network_has_diffusers_gradients(kind, preset):
    network = make_trained(kind, preset)
    theirs = compute(network)
    with replacing_blocks(network):
        assert any(type(module) in {own for own, _ in REPLACED.values()} for module in network.modules())
        assert_same(compute(network), theirs, 1e-5)
        # The second step's gradients are not those of what the first one has written over.
        assert_same(compute(network), theirs, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_activations_are_recomputed_where_diffusers_would(kind):
    network, recomputed = make_trained(kind), []

    def watched(function, *args):
        recomputed.append(type(function))
        return checkpoint(function, *args, use_reentrant=False)

    theirs = compute(network)
    network.enable_gradient_checkpointing(watched)
    compute(network)
    expected = len(recomputed)
    with replacing_blocks(network):
        assert_same(compute(network), theirs, 1e-5)
    assert len(recomputed) == 2 * expected > 0


def test_what_is_drawn_in_between_leaves_the_training_as_it_was():
    network = make_trained("sd15")
    vae = torch.nn.Identity()
    before = [type(module) for module in network.modules()]
    with replacing_blocks(network):
        first, types = compute(network), [type(module) for module in network.modules()]
        with drawing_batch(network, vae, guided=False):
            drawn = network(**make_inputs(network, 3))[0]
        assert torch.equal(drawn, first[""]) and not drawn.requires_grad
        assert [type(module) for module in network.modules()] == types
        again = compute(network)
        assert all(torch.equal(again[name], first[name]) for name in first)
    assert [type(module) for module in network.modules()] == before


def test_half_precision_is_not_joined():
    """It has no room for sums of weights."""
    network = make_trained("sd15")
    with torch.autocast("cpu", torch.bfloat16):
        theirs = compute(network)
        with replacing_blocks(network):
            ours = compute(network)
            assert any(type(one) is Upsample and "_kernels" not in one.__dict__ for one in network.modules())
    assert_same(ours, theirs, 2e-2)


def test_the_joined_upsampling_does_not_depend_on_what_was_computed_before():
    """A training that drew first, in another memory format, ended 3e-7 away from one that went on from a checkpoint."""
    torch.manual_seed(0)
    states = torch.randn(1, 8, 6, 6)
    last = states.contiguous(memory_format=torch.channels_last)
    first, second = (Upsample2D(8, use_conv=True).requires_grad_(False) for _ in range(2))
    second.load_state_dict(first.state_dict())
    with replacing_blocks(first, second):
        of_both = [first(states), first(last)]
        turned = [second(last), second(states)][::-1]
    assert all(map(torch.equal, of_both, turned))
    # The format of what comes out decides how the layers behind it compute.
    assert [one.stride() for one in of_both] == [one.stride() for one in turned]
    assert not (first.__dict__.keys() | second.__dict__.keys()) & {"_kernels"}
