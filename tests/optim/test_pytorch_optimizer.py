"""Which optimizers of pytorch-optimizer train here: tried, all of them, and those that are refused too."""

import json

import pytest
import torch
from torch import nn

from lorakiln.console.errors import UserError
from lorakiln.optim import find_optimizer, kohya_name
from lorakiln.optim.flat_weights import FlatWeights
from lorakiln.optim.state import put_state, take_state
from lorakiln.schema.optimizers.pytorch_optimizer import REFUSED, PytorchOptimizerSettings

library = pytest.importorskip("pytorch_optimizer")
SHAPES = {"a": (4, 30), "b": (30, 4), "conv": (4, 5, 3, 3), "m": (33,)}
NAMES = sorted(library.get_supported_optimizers())
BARRED = sorted(name for names in REFUSED.values() for name in names)

NEEDED = {"ranger21": {"num_iterations": 100}}


def build(settings):
    generator = torch.Generator().manual_seed(1)
    weights = {name: nn.Parameter(torch.randn(shape, generator=generator) * 0.1) for name, shape in SHAPES.items()}
    flat = FlatWeights(weights.items())
    return flat, find_optimizer(settings).build(flat.groups(False), settings), flat.owners(False)


def go(flat, optimizer, steps):
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for piece in flat.split(flat.gradients).values():
            piece.copy_(torch.randn(piece.shape, generator=generator))
        optimizer.step()


def try_out(name):
    """Train with it, and go on from its state."""
    settings = PytorchOptimizerSettings(lr=1e-3, name=name, args=NEEDED.get(name, {}))
    flat, whole, owners = build(settings)
    go(flat, whole, range(3))
    record, tensors = take_state(whole, owners)
    record, tensors = json.loads(json.dumps(record)), {key: tensor.clone() for key, tensor in tensors.items()}
    weights = flat.split(flat.weights.data.clone())
    go(flat, whole, range(3, 6))
    other, rest, its_owners = build(settings)
    other.weights.data.copy_(other.join(weights))
    put_state(rest, its_owners, record, tensors)
    go(other, rest, range(3, 6))
    assert torch.equal(other.weights, flat.weights) and flat.weights.isfinite().all()
    assert not torch.equal(flat.weights, flat.join(weights))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in BARRED])
def test_it_trains_and_goes_on_bit_for_bit(name):
    try_out(name)


def test_those_that_are_refused_are_the_librarys_and_cannot(monkeypatch):
    assert set(BARRED) <= set(NAMES)
    monkeypatch.setattr("lorakiln.schema.optimizers.pytorch_optimizer.REFUSED", {})
    monkeypatch.setattr("lorakiln.optim.pytorch_optimizer.REFUSED", {})
    for name in BARRED:
        with pytest.raises(Exception):  # noqa: B017 # each has its own: whatever it is, it does not train
            try_out(name)


def test_names_and_arguments_that_are_not_there():
    with pytest.raises(UserError, match="has no 'ademamx'") as told:
        build(PytorchOptimizerSettings(lr=1e-3, name="ademamx"))
    assert "ademamix" in told.value.fix
    with pytest.raises(UserError, match="Lion has no moments") as told:
        build(PytorchOptimizerSettings(lr=1e-3, name="lion", args={"moments": 3}))
    assert told.value.fix.startswith("it has: betas, weight_decay")
    with pytest.raises(UserError, match=r"Lion refuses {'betas': \[2.0, 0.9\]}"):
        build(PytorchOptimizerSettings(lr=1e-3, name="lion", args={"betas": [2.0, 0.9]}))


def test_the_metadata_name_the_class_and_what_it_was_given():
    settings = PytorchOptimizerSettings(lr=1e-3, name="Lion", args={"betas": [0.8, 0.9], "cautious": True})
    assert kohya_name(settings) == "pytorch_optimizer.optimizer.lion.Lion(betas=[0.8, 0.9],cautious=True)"
