"""Kinds that peft has too do what peft's do: the same weights, gradients and first factors."""

import copy

import pytest
import torch
from peft import LoraConfig, PeftModel, inject_adapter_in_model

from lorakiln.adapters.adapter import Adapter
from lorakiln.adapters.formula import CHILD
from lorakiln.console.errors import UserError
from lorakiln.lora_files.casting import cast_adapter
from lorakiln.lora_files.writing import write_peft
from tests.adapters.networks import KINDS, PAIR, draw, names_in, put, settings_of, stir


@pytest.mark.parametrize("name", ["lora pissa", "dora", "loha", "lokr", "lokr both", "lokr full"])
def test_peft_loads_its_folder_and_makes_the_same_of_the_network(tmp_path, bare, name):
    settings = settings_of(**KINDS[name])
    kind, network = put(bare, settings)
    stir(network)
    parted = Adapter({f"unet.{one}": layer for one, layer in kind.read_from(network).items()})
    if settings.kind == "dora":  # the magnitude's name is peft's where the scale is folded
        parted = cast_adapter(parted, None, "x", fold=True, kind="dora").adapter
    assert settings.kind not in ("loha", "lokr") or kind.in_peft(parted.layers)
    write_peft(parted, tmp_path / "peft", settings.kind)
    theirs = PeftModel.from_pretrained(copy.deepcopy(bare), tmp_path / "peft").merge_and_unload()
    for one, layer in parted.layers.items():
        module = one.removeprefix("unet.")
        weight = bare.get_submodule(module).weight
        change = theirs.get_submodule(module).weight - weight
        assert (layer.change_of(weight) - change).norm() < 1e-5 * change.norm() + 1e-6 * weight.norm(), one


def test_a_dora_has_the_gradients_of_pefts(bare):
    kind, network = put(bare, settings_of(kind="dora", **PAIR))
    stir(network)
    theirs = copy.deepcopy(bare)
    config = LoraConfig(r=4, lora_alpha=2, use_dora=True, target_modules=names_in(bare))
    inject_adapter_in_model(config, theirs)
    with torch.no_grad():
        for name, layer in kind.read_from(network).items():
            there = theirs.get_submodule(name)
            there.lora_A["default"].weight.copy_(layer.tensors["lora_down.weight"])
            there.lora_B["default"].weight.copy_(layer.tensors["lora_up.weight"])
            magnitude = there.lora_magnitude_vector["default"].weight
            magnitude.copy_(layer.tensors["dora_scale"].reshape(magnitude.shape))
    for one in (network, theirs):
        draw(one.train()).square().mean().backward()
    for name in names_in(bare):
        mine, there = network.get_submodule(name).get_submodule(CHILD), theirs.get_submodule(name)
        for got, expected in (
            (mine.lora_down, there.lora_A["default"].weight),
            (mine.lora_up, there.lora_B["default"].weight),
            (mine.dora_scale, there.lora_magnitude_vector["default"].weight),
        ):
            expected = expected.grad.reshape(got.shape)
            assert (got.grad - expected).norm() < 1e-4 * expected.norm(), name


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_what_begins_with_the_weights_begins_as_pefts_does(bare, init):
    """peft changes the base; here the first factors are taken off beside it, and the file is of twice the rank."""
    kind, network = put(bare, settings_of(kind="lora", **PAIR, init=init))
    names = [name for name in names_in(bare) if name.endswith(("to_q", "to_k", "net.2"))]
    theirs = copy.deepcopy(bare)
    inject_adapter_in_model(LoraConfig(r=4, lora_alpha=2, init_lora_weights=init, target_modules=names), theirs)
    first = {name: theirs.get_submodule(name).base_layer.weight.clone() for name in names}
    for name in names:
        mine, there = network.get_submodule(name), theirs.get_submodule(name)
        begun = mine.get_delta_weight("default")
        torch.testing.assert_close(begun, there.get_delta_weight("default"), rtol=1e-3, atol=1e-4)
        assert kind.read_from(network)[name].delta().abs().max() < 1e-6
    stir(network)
    with torch.no_grad():
        for name in names:
            for part in ("lora_A", "lora_B"):
                mine, there = (getattr(one.get_submodule(name), part)["default"].weight for one in (network, theirs))
                there.copy_(mine)
            layer = kind.read_from(network)[name]
            assert layer.rank == 8 and layer.scale == 0.5
            whole = first[name] + theirs.get_submodule(name).get_delta_weight("default")
            torch.testing.assert_close(bare.get_submodule(name).weight + layer.delta(), whole, rtol=1e-4, atol=1e-4)
    # Other first factors than those of this weight are no adapter of it.
    layers = kind.read_from(network)
    layers[names[0]].down[5, 0] += 1
    with pytest.raises(UserError, match="begins with other factors"):
        kind.write_to(network, layers)
