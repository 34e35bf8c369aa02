import pytest
import torch

from lorakiln.adapters import lora_network
from lorakiln.adapters.adapter import Adapter
from lorakiln.console.errors import UserError
from tests.adapters.networks import adapted
from tests.lora_files.conftest import predict, predict_merged, random_adapter


@pytest.mark.parametrize("preset", ["attention", "kohya"])
def test_a_fresh_adapter_equals_the_base_bit_for_bit(family, preset):
    before = predict(family.network)
    lora_network.wrap(family.network, family.target_modules(preset), 4, 2.0, 0.0, seed=0)
    assert torch.equal(predict(family.network), before)


def test_exactly_the_named_modules_are_adapted_and_they_alone_train(family):
    names = family.target_modules("kohya")[::3]
    lora_network.wrap(family.network, names, 4, 2.0, 0.0, seed=0)
    assert sorted(lora_network.layers_on(family.network)) == sorted(names)
    training = {name: p for name, p in family.network.named_parameters() if p.requires_grad}
    expected = {f"{name}.lora_{side}.default.weight" for name in names for side in "AB"}
    assert set(training) == expected
    assert {p.dtype for p in training.values()} == {torch.float32}


def test_the_weights_are_float32_on_a_bfloat16_network_too(family):
    family.network.to(torch.bfloat16)
    before = predict(family.network, torch.bfloat16)
    lora_network.wrap(family.network, family.target_modules("kohya"), 4, 2.0, 0.0, seed=0)
    assert {p.dtype for p in family.network.parameters() if p.requires_grad} == {torch.float32}
    assert torch.equal(predict(family.network, torch.bfloat16), before)


def test_the_first_weights_depend_on_the_seed_and_the_names_alone(micro_model):
    from lorakiln.families import load_family

    read = []
    for seed, state in ((3, 0), (3, 99), (4, 0)):
        family = load_family(micro_model, ("network",))
        torch.manual_seed(state)
        before = torch.get_rng_state()
        lora_network.wrap(family.network, family.target_modules("kohya"), 4, 2.0, 0.0, seed=seed)
        assert torch.equal(torch.get_rng_state(), before)
        read.append(adapted(family.network).read().layers)
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    assert all(torch.equal(layer.down, read[1][key].down) for key, layer in read[0].items())
    assert not torch.equal(read[0][name].down, read[2][name].down)
    # U(-1/sqrt(fan_in), 1/sqrt(fan_in)), whose standard deviation is the bound over the root of 3.
    for layer in read[0].values():
        bound = layer.down[0].numel() ** -0.5
        assert layer.down.abs().max() <= bound
        assert layer.down.std() == pytest.approx(bound / 3**0.5, rel=0.25)
        assert not layer.up.any()


def test_what_is_written_is_read_back_and_acts_as_added_weights_do(family):
    adapter = random_adapter(family)
    expected = predict_merged(family, adapter)
    lora_network.wrap(family.network, family.target_modules("kohya"), 4, 3.0, 0.0, seed=0)
    adapted(family.network).write(adapter)
    found = adapted(family.network).read()
    assert set(found.layers) == set(adapter.layers)
    for name, layer in adapter.layers.items():
        assert torch.equal(found.layers[name].down, layer.down)
        assert torch.equal(found.layers[name].up, layer.up)
        assert found.layers[name].alpha == 2.0
    torch.testing.assert_close(predict(family.network), expected, rtol=1e-4, atol=1e-4)


def test_reading_gives_a_copy(family):
    lora_network.wrap(family.network, family.target_modules("attention"), 4, 2.0, 0.0, seed=0)
    before = adapted(family.network).read()
    with torch.no_grad():
        for layer in lora_network.layers_on(family.network).values():
            layer.lora_B["default"].weight.add_(1.0)
    assert not any(layer.up.any() for layer in before.layers.values())


def test_an_adapter_of_other_modules_or_shapes_is_refused(family):
    adapter = random_adapter(family)
    lora_network.wrap(family.network, family.target_modules("kohya"), 8, 8.0, 0.0, seed=0)
    with pytest.raises(UserError, match="its rank"):
        adapted(family.network).write(adapter)
    name, layer = next(iter(adapter.layers.items()))
    with pytest.raises(UserError, match="modules differ"):
        adapted(family.network).write(Adapter({name: layer}))
