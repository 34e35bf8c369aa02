"""Training goes on from a file: of a lower rank as it was, and not from one that does not fit."""

import pytest

from lorakiln.adapters.protocol import StartingPoint
from lorakiln.console.errors import UserError
from tests.adapters.networks import KINDS, PAIR, draw, put, settings_of, stir


@pytest.mark.parametrize("name", ["dora", "loha", "lokr", "lokr both", "lora"])
def test_a_file_of_a_lower_rank_goes_on_as_it_was(bare, name):
    given = {**KINDS[name], "rank_pattern": {}, "alpha_pattern": {}}
    kind, lower = put(bare, settings_of(**{**given, "rank": 1, "alpha": 5.0}))
    wide = settings_of(**{**given, "rank": 2 if name == "lokr" else 1 if name == "lokr both" else 4})
    stir(lower)
    layers, (_, fresh) = kind.read_from(lower), put(bare, wide, seed=3)
    begun = kind.start_from(StartingPoint(layers, set(), "base"), kind.read_from(fresh), wide)
    kind.write_to(fresh, begun)
    for one, layer in kind.read_from(fresh).items():
        weight = bare.get_submodule(one).weight
        expected = layers[one].change_of(weight)
        assert layer.rank in ((1,) if name == "lokr both" else (wide.rank, None) if name == "lokr" else (wide.rank,))
        assert (layer.change_of(weight) - expected).norm() < 1e-5 * expected.norm()
    # And what was filled up learns.
    draw(fresh.train()).square().mean().backward()
    assert all(one.grad.any() for _, one in fresh.named_parameters() if one.requires_grad)


def test_a_file_that_does_not_fit_is_refused(bare):
    kind, network = put(bare, settings_of(kind="oft", rank=4, alpha=4.0))
    _, other = put(bare, settings_of(kind="oft", rank=2, alpha=2.0))
    begun = StartingPoint(kind.read_from(other), set(), "base")
    with pytest.raises(UserError, match="its tensors are oft_blocks .* the settings' oft_blocks"):
        kind.start_from(begun, kind.read_from(network), settings_of(kind="oft", rank=4, alpha=4.0))
    with pytest.raises(UserError, match="is not oft_blocks"):
        kind.write_to(network, kind.read_from(other))
    loha, third = put(bare, settings_of(kind="loha", **PAIR))
    begun = StartingPoint(loha.read_from(third), set(), "base")
    with pytest.raises(UserError, match="its layers are LoHa, no OFT"):
        kind.start_from(begun, kind.read_from(network), settings_of(kind="oft", rank=4, alpha=4.0))
