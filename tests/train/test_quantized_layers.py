"""A frozen base in fewer bits: what its weights become, what is computed with them, and that it trains."""

import copy
import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lorakiln import libraries
from lorakiln.adapters.lora_initialisation import NAME
from lorakiln.adapters.lora_network import layers_on
from lorakiln.adapters.networks import find_adapted_networks
from lorakiln.adapters.targets import list_target_names
from lorakiln.console.errors import UserError
from lorakiln.families import load_family
from lorakiln.families.tensor_memory import META, count_held_bytes
from lorakiln.schema.adapters import ADAPTERS
from lorakiln.train.adapter_placement import inject_adapter
from lorakiln.train.precision import norm_in_half
from lorakiln.train.quantized_layers import STORAGES, QuantizedLinear, quantize_layers

CPU = torch.device("cpu")
# QLoRA's, appendix E.
NF4 = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334]
NF4 += [-0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224]
NF4 += [0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0]
E4M3 = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
# What a weight can be, as a share of the largest in its group; the group; and the bytes that a weight takes with its
# share of a scale, in rows of 128.
LEVELS = {
    "fp8": (E4M3[E4M3.isfinite()] / 448, 128, 1 + 4 / 128),
    "int8": (torch.arange(-127, 128) / 127, 128, 1 + 4 / 128),
    "nf4": (torch.tensor(NF4), 64, 0.5 + 4 / 64),
}
KINDS = sorted(LEVELS)


def test_every_kind_is_tested():
    assert sorted(STORAGES) == KINDS


@pytest.fixture
def make_layer():
    def make(rows=24, columns=128):
        generator = torch.Generator().manual_seed(0)
        layer = nn.Linear(columns, rows).requires_grad_(False)
        for one in (layer.weight, layer.bias):
            one.copy_(torch.randn(one.shape, generator=generator) * 0.05)
        return layer

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_becomes_the_nearest_that_the_kind_has(kind, make_layer):
    levels, group, size = LEVELS[kind]
    layer = make_layer()
    layer.weight[3] = 0
    stored = QuantizedLinear(layer, kind, CPU)
    groups = layer.weight.reshape(-1, group)
    largest = groups.abs().amax(1, keepdim=True)
    nearest = (groups[..., None] - largest[..., None] * levels).abs().amin(-1)
    away = (stored.weight - layer.weight).abs().reshape(-1, group)
    assert torch.allclose(away, nearest, atol=1e-7)
    assert 0 < float(away.max()) < 0.2 * float(largest.max())
    assert (stored.weight[3] == 0).all()
    assert stored.codes.nbytes + stored.scales.nbytes == layer.weight.numel() * size


@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (3, 64)])
@pytest.mark.parametrize("kind", KINDS)
def test_any_shape_and_no_numbers(kind, shape, make_layer):
    layer = make_layer(*shape)
    stored, hollow = QuantizedLinear(layer, kind, CPU), QuantizedLinear(layer.to(META), kind, META)
    assert stored.weight.shape == hollow.weight.shape == shape
    assert isinstance(stored.get_parameter("weight"), nn.Parameter)  # which some kinds of adapters ask for
    assert count_held_bytes(stored) == count_held_bytes(hollow)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_weights_size_waits_for_the_backward_pass(kind, make_layer):
    kept: list[torch.Tensor] = []
    x = torch.randn(2, 5, 128, requires_grad=True)
    stored = QuantizedLinear(make_layer(), kind, CPU)
    with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one):
        product = stored(x)
    assert not kept
    (gradient,) = torch.autograd.grad(product.square().sum(), x)
    assert torch.allclose(gradient, 2 * product.detach() @ stored.weight, atol=1e-6)


def put_stirred(family, **adapter):
    """Put an adapter that does something on the family's network."""
    settings = ADAPTERS.settings(adapter["kind"])(**{"rank": 4, "alpha": 4.0, "targets": "kohya"} | adapter)
    inject_adapter(family, settings, list_target_names(family, settings.targets), 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in family.network.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


def round_weights(network):
    """The quantized layers' weights in common linear layers."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, QuantizedLinear):
            plain = nn.Linear(layer.in_features, layer.out_features, layer.bias is not None, dtype=layer.dtype)
            plain.weight, plain.bias = layer.weight, layer.bias
            network.set_submodule(name, plain)


# Of the kinds of bases with a LoRA in both precisions, and of all kinds of adapters.
CASES = [(kind, dtype, {"kind": "lora"}) for kind in KINDS for dtype in (torch.float32, torch.bfloat16)]
CASES += [("int8", torch.float32, {"kind": name}) for name in ADAPTERS.names if name != "lora"]
CASES += [("int8", torch.float32, {"kind": "lora", "init": init}) for init in ("pissa", "olora")]


@pytest.mark.parametrize(("kind", "dtype", "adapter"), CASES, ids=str)
def test_it_computes_and_learns_as_a_network_of_the_rounded_weights(micro_model, micro_family, kind, dtype, adapter):
    told = micro_family.encode_prompts(["a cat", "a dog"])
    x = torch.randn(2, *micro_family.latent_shape(32, 32), generator=torch.Generator().manual_seed(2))
    found = []
    for rounded in (False, True):
        family = load_family(micro_model, ("network",), dtype=dtype)
        quantize_layers(family.network, kind, CPU)
        if rounded:
            round_weights(family.network)
        put_stirred(family, **adapter)
        if dtype != torch.float32:
            find_adapted_networks(family, adapter["kind"]).prepare_for_autocast()
            norm_in_half(family.network, "cpu")
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype != torch.float32):
            predicted = family.predict(x, torch.tensor([10, 700]), told).float()
        predicted.square().mean().backward()
        trained = {name: one.grad for name, one in family.network.named_parameters() if one.requires_grad}
        found.append((predicted.detach(), trained))
    (predicted, gradients), (expected, true) = found
    assert torch.allclose(predicted, expected, rtol=1e-5, atol=1e-6)
    assert gradients.keys() == true.keys() and len(true) > 10
    assert sum(float(gradient.norm()) > 0 for gradient in true.values()) > 10
    for name, gradient in gradients.items():
        assert (gradient - true[name]).norm() <= 1e-5 * true[name].norm(), name


@pytest.mark.parametrize("kind", KINDS)
def test_on_top_is_the_adapters_product(micro_model, kind):
    family = load_family(micro_model, ("network",))
    before = copy.deepcopy(family.network)
    quantize_layers(family.network, kind, CPU)
    put_stirred(family, kind="lora", alpha=2.0)
    layers = layers_on(family.network)
    # The others are convolutions, which stay as they are.
    linear = {name: layer for name, layer in layers.items() if isinstance(layer.base_layer, QuantizedLinear)}
    assert len(linear) > 10
    for name, layer in linear.items():
        x = torch.randn(3, layer.in_features, generator=torch.Generator().manual_seed(3))
        base, down, up = layer.base_layer, layer.lora_A[NAME].weight, layer.lora_B[NAME].weight
        expected = F.linear(x, base.weight, base.bias) + 2.0 / 4 * x @ down.T @ up.T
        assert torch.allclose(layer(x), expected, atol=1e-5)
        assert not torch.equal(base.weight, before.get_submodule(name).weight)


@pytest.mark.parametrize("kind", KINDS)
def test_linear_layers_alone_are_stored_so(micro_model, kind):
    network = load_family(micro_model, ("network",)).network
    before = dict(network.named_modules())
    quantize_layers(network, kind, CPU)
    changed = {name for name, layer in network.named_modules() if isinstance(layer, QuantizedLinear)}
    linear = {name for name, layer in before.items() if isinstance(layer, nn.Linear)}
    assert linear - changed == {"time_embedding.linear_1", "time_embedding.linear_2"}
    assert all(before[name] is layer for name, layer in network.named_modules() if name not in changed)
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_base_without_linear_layers_is_told():
    with pytest.raises(UserError, match="no linear layers") as told:
        quantize_layers(nn.Sequential(nn.Conv2d(1, 1, 1)), "int8", CPU)
    assert told.value.where == "train.trainer.quantize"


@pytest.mark.parametrize("kind", KINDS)
def test_it_trains_and_goes_on_bit_for_bit(train_micro, train_killed, make_settings, read_files, capsys, kind):
    begun = train_micro(make_settings(steps=2), "begun") / "adapters" / "step-00000002.safetensors"
    settings = make_settings(
        checkpoint_every=4,
        adapter={"init_from": str(begun)},
        trainer={"quantize": kind},
        validation={"every": 6, "fraction": 0.3, "draws": 16},
        samples={"every": 6, "steps": 2},
    )
    train_killed(settings, at=6)
    assert f"on cpu in fp32, linear layers in {kind}" in capsys.readouterr().out
    rest = train_micro(settings)
    assert "going on from the checkpoint after step 4" in capsys.readouterr().err
    whole = train_micro(settings, "whole")
    assert read_files(rest) == read_files(whole)
    with (whole / "validation.csv").open() as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    assert losses[-1] < losses[0]


def test_bitsandbytes_is_asked_for_where_it_is_missing(monkeypatch, micro_model):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    network = load_family(micro_model, ("network",)).network
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    monkeypatch.setattr(libraries.importlib, "import_module", missing)
    quantize_layers(copy.deepcopy(network), "int8", CPU)
    # Its memory is counted for advice, where nobody has it yet.
    quantize_layers(copy.deepcopy(network).to(META), "nf4", META)
    with pytest.raises(UserError) as told:
        quantize_layers(network, "nf4", CPU)
    assert str(told.value) == (
        'train.trainer.quantize=nf4: bitsandbytes is not installed\n  fix: pip install "lorakiln[quantized]"'
    )


def test_what_does_not_need_it_does_not_load_it(tmp_path):
    """diffusers and peft would, wherever it is installed."""
    (tmp_path / "bitsandbytes").mkdir()
    (tmp_path / "bitsandbytes" / "__init__.py").write_text("raise SystemExit('loaded')\n")
    told = tmp_path / "bitsandbytes-99.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: bitsandbytes\nVersion: 99.0\n")
    program = """
import lorakiln.train.stage, torch
from lorakiln.adapters.lora_network import wrap
wrap(torch.nn.Sequential(torch.nn.Linear(4, 4)), ["0"], 2, 2.0, 0.0, 0)
from lorakiln.libraries import import_bitsandbytes
try:
    import_bitsandbytes("x")
except SystemExit as asked:
    print(asked)
"""
    path = os.pathsep.join([str(Path("src").resolve()), str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "loaded\n"
