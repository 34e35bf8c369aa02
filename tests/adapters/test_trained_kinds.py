"""Every kind that can be trained: what it puts on a network is what its files do to the weights."""

import copy
import json

import pytest
import torch

from lorakiln.adapters.adapter import Adapter
from lorakiln.adapters.checks import TOLERANCE
from lorakiln.adapters.formula import FormulaLayer
from lorakiln.adapters.lora_initialisation import FROM_WEIGHTS
from lorakiln.adapters.protocol import Stored
from lorakiln.lora_files.diffusers_form import make_part_config
from tests.adapters.networks import KINDS, draw, names_in, put, settings_of, stir


@pytest.fixture(params=KINDS)
def settings(request):
    return settings_of(**KINDS[request.param])


def test_a_fresh_one_changes_nothing_and_depends_on_the_seed(bare, settings):
    kind, network = put(bare, settings)
    with torch.no_grad():
        expected, got = draw(bare), draw(network)
    begins_with_weights = getattr(settings, "init", "") in FROM_WEIGHTS
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4 if begins_with_weights else 0)
    trained = {name: one for name, one in network.named_parameters() if one.requires_grad}
    assert trained and all(one.dtype == torch.float32 for one in trained.values())
    assert set(kind.layers_on(network)) == set(names_in(bare))
    # Nothing of the base takes a gradient, and its weights are there under their names and what they were.
    assert not [name for name in trained if not any(name.startswith(f"{module}.") for module in names_in(bare))]
    again, other = (dict(put(bare, settings, seed)[1].named_parameters()) for seed in (0, 5))
    assert all(torch.equal(again[name], one) for name, one in trained.items())
    drawn = settings.kind not in ("oft", "boft", "ia3") and not begins_with_weights
    assert drawn == any(not torch.equal(other[name], one) for name, one in trained.items())


def test_what_it_adds_is_what_its_files_change(bare, settings):
    kind, network = put(bare, settings)
    stir(network)
    layers = kind.read_from(network)
    weights = {name: bare.get_submodule(name).weight for name in layers}
    merged = copy.deepcopy(bare)
    with torch.no_grad():
        for name, layer in layers.items():
            change = layer.change_of(weights[name])
            assert change.norm() > 1e-3 * weights[name].norm()
            torch.testing.assert_close(
                kind.compute_squared_norms(network)[name], change.square().sum(), rtol=1e-4, atol=1e-8
            )
            merged.get_submodule(name).weight.add_(change)
        torch.testing.assert_close(draw(network.eval()), draw(merged), rtol=1e-4, atol=1e-4)
    # Written in both forms and read back: the same change, number by number.
    parted = Adapter({f"unet.{name}": layer for name, layer in layers.items()})
    config = {f"unet.{key}": value for key, value in make_part_config(parted, "unet", settings.kind).items()}
    config = json.loads(json.dumps(config))
    for form in ("kohya", "dotted"):
        for name, layer in layers.items():
            tensors = kind.tensors(layer, form)
            assert kind.claim(tensors, form) == tensors.keys()
            read = kind.read(Stored("x", name, f"unet.{name}", form, tensors, config))
            change = layer.change_of(weights[name])
            assert (read.change_of(weights[name]) - change).norm() <= 1e-6 * change.norm() + 1e-7 * weights[name].norm()
    # Put into another one, it does the same.
    _, other = put(bare, settings, seed=0)
    kind.write_to(other, layers)
    with torch.no_grad():
        assert torch.equal(draw(other.eval()), draw(network))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_in_half_precision_it_changes_the_weights_nearly_as_it_did(bare, settings, dtype):
    kind, network = put(bare, settings)
    stir(network)
    for name, layer in kind.read_from(network).items():
        weight = bare.get_submodule(name).weight
        small, lost = kind.cast(layer, dtype, "x")
        change = layer.change_of(weight)
        assert not lost and (small.change_of(weight) - change).norm() <= TOLERANCE[dtype] * change.norm()


def test_gradients_reach_everything_that_is_trained(bare, settings):
    _, network = put(bare, settings)
    stir(network)
    draw(network.train()).square().mean().backward()
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_a_layer_is_its_kinds_and_no_relative_one_has_a_lora(bare):
    for name in ("dora", "loha", "lokr", "oft", "boft", "ia3"):
        kind, network = put(bare, settings_of(**KINDS[name]))
        for layer in kind.read_from(network).values():
            assert isinstance(layer, FormulaLayer) and layer.kind == kind.TITLE
            assert (layer.low_rank() is None) == kind.RELATIVE and layer.parameters > 0
