"""Gates that keep less compute what diffusers' own do, to the last bit."""

import pytest
import torch
import torch.utils.checkpoint
from diffusers.models.activations import GEGLU
from torch import nn

from lorakiln.train.gated_activations import recompute_geglu


def run(network, states):
    """Output, gradients of the input and of the weights, and the bytes that were kept for them."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    states = states.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        made = network(states)
    made.float().square().sum().backward()
    return made.detach(), states.grad, network[0].proj.weight.grad, sum(kept.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_they_compute_the_same_and_keep_less(dtype):
    torch.manual_seed(0)
    states = torch.randn(2, 50, 16, dtype=dtype)
    network = nn.Sequential(GEGLU(16, 64)).to(dtype)
    *expected, kept = run(network, states)
    network.zero_grad()
    recompute_geglu(network)
    *found, fewer = run(network, states)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    # Both halves of the projection stay; the gelu of the second does not.
    assert kept - fewer == 2 * 50 * 64 * dtype.itemsize


def test_they_go_through_checkpointing():
    network = nn.Sequential(GEGLU(4, 8))
    states = torch.randn(3, 4, requires_grad=True)
    whole = torch.autograd.grad(network(states).sum(), states)[0]
    recompute_geglu(network)
    again = torch.utils.checkpoint.checkpoint(network, states, use_reentrant=False)
    assert torch.equal(torch.autograd.grad(again.sum(), states)[0], whole)
