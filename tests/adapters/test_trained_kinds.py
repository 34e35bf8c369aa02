"""Every kind that can be trained: what it puts on a network is what its files do to the weights."""

import copy
import json
import math

import pytest
import torch
from peft import LoraConfig, PeftModel, inject_adapter_in_model

from lorakiln.adapters.adapter import Adapter
from lorakiln.adapters.checks import TOLERANCE
from lorakiln.adapters.formula import CHILD, FormulaLayer
from lorakiln.adapters.lokr import split
from lorakiln.adapters.lora_starts import FROM_WEIGHTS
from lorakiln.adapters.protocol import StartingPoint, Stored, find_trained_kind
from lorakiln.adapters.targets import check_patterns
from lorakiln.console.errors import ConfigError, UserError
from lorakiln.lora_files.casting import cast_adapter
from lorakiln.lora_files.diffusers_form import make_part_config
from lorakiln.lora_files.writing import write_peft
from lorakiln.schema.adapters import ADAPTERS
from lorakiln.schema.base import check

# A linear layer, a 1x1 and a 3x3 convolution, and one of stride 2.
ENDS = ("attn1.to_q", "attn2.to_k", "ff.net.2", "proj_in", "conv1", "downsamplers.0.conv")
PAIR = {"rank": 4, "alpha": 2.0}
KINDS = {
    "lora": {"kind": "lora", **PAIR},
    "lora gaussian": {"kind": "lora", **PAIR, "init": "gaussian"},
    "lora pissa": {"kind": "lora", **PAIR, "init": "pissa"},
    "lora olora": {"kind": "lora", **PAIR, "init": "olora"},
    "lora patterns": {
        "kind": "lora",
        **PAIR,
        "rank_pattern": {"*.conv1": 2, "attn1.to_q": 3},
        "alpha_pattern": {"conv1": 1.0},
    },
    "rslora": {"kind": "rslora", **PAIR, "rank_pattern": {"proj_in": 2}},
    "dora": {"kind": "dora", **PAIR, "rank_pattern": {"conv1": 2}},
    "loha": {"kind": "loha", **PAIR, "alpha_pattern": {"conv1": 3.0}},
    "lokr": {"kind": "lokr", "rank": 2, "alpha": 3.0, "factor": 4},
    "lokr both": {"kind": "lokr", "rank": 1, "alpha": 2.0, "factor": -1, "decompose_both": True},
    "lokr full": {"kind": "lokr", "rank": 2, "alpha": 3.0, "factor": 4, "full_matrix": True},
    "oft": {"kind": "oft", "rank": 4, "alpha": 4.0, "rescale": True},
    "oft constraint": {"kind": "oft", "rank": 4, "alpha": 4.0, "constraint": 0.01},
    "boft": {"kind": "boft", "rank": 4, "alpha": 4.0},
    "ia3": {"kind": "ia3", "rank": 1, "alpha": 1.0, "on_input": ["ff.net.2", "conv1"]},
}


def settings_of(**given):
    return ADAPTERS.settings(given["kind"])(**given)


@pytest.fixture(params=KINDS)
def settings(request):
    return settings_of(**KINDS[request.param])


def names_in(network):
    return [name for name, _ in network.named_modules() if name.endswith(ENDS)]


def put(network, settings, seed=0):
    """The kind, and a copy of the network that carries it."""
    carrying, kind = copy.deepcopy(network), find_trained_kind(settings.kind)
    kind.put_on(carrying, names_in(network), settings, seed)
    return kind, carrying


def stir(network, seed=1):
    """Random numbers in place of the adapter's first ones, those around 1 near what they were."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                near = 0.05 if "dora_scale" in name or "rescale" in name else 0.2
                parameter.add_(near * torch.randn(parameter.shape, generator=generator))


def draw(network):
    generator = torch.Generator().manual_seed(2)
    noisy = torch.randn(2, network.config.in_channels, 8, 8, generator=generator)
    text = torch.randn(2, 7, network.config.cross_attention_dim, generator=generator)
    return network(noisy, torch.tensor([10, 500]), encoder_hidden_states=text).sample


@pytest.fixture
def bare(micro_family):
    network = copy.deepcopy(micro_family.network)
    return network.requires_grad_(False).eval()


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
            torch.testing.assert_close(kind.squares(network)[name], change.square().sum(), rtol=1e-4, atol=1e-8)
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


def test_a_rank_that_a_weight_has_not_is_refused_before_anything_is_trained(bare):
    with pytest.raises(UserError, match="has not 500 ranks for pissa"):
        put(bare, settings_of(kind="lora", rank=500, alpha=1.0, init="pissa"))


@pytest.mark.parametrize("kind", ["dora", "loha", "lokr"])
@pytest.mark.parametrize("dropout", ["rank_dropout", "module_dropout"])
def test_outputs_and_modules_are_left_out_while_it_trains(bare, kind, dropout):
    _, network = put(bare, settings_of(kind=kind, **PAIR, **{dropout: 0.5}))
    stir(network)
    name = "mid_block.attentions.0.transformer_blocks.0.ff.net.2"
    module, on = network.get_submodule(name), network.get_submodule(f"{name}.{CHILD}")
    x = torch.randn(3, module.in_features)
    whole = on.eval()(x, module)
    on.train()
    torch.manual_seed(0)
    found = torch.stack([on(x, module) for _ in range(200)]).detach()
    whole = whole.detach()
    if dropout == "module_dropout":
        assert all(torch.equal(one, whole) or not one.any() for one in found)
        assert 0.4 < found.any(-1).any(-1).float().mean() < 0.6
    else:
        kept = found.abs().sum((0, 1)) > 0
        assert kept.all()
        for one in found:
            left = one.any(0)
            torch.testing.assert_close(one[:, left], 2 * whole[:, left])
        torch.testing.assert_close(found.mean(0), whole, rtol=0.5, atol=0.3 * float(whole.abs().max()))


def test_ranks_of_a_lora_are_left_out_for_each_picture(bare):
    _, network = put(bare, settings_of(kind="lora", **PAIR, rank_dropout=0.5))
    for end in ("attn1.to_q", "conv1"):
        name = next(name for name in names_in(bare) if name.endswith(end))
        down = network.get_submodule(name).lora_A["default"]
        shape = (5, 3, down.in_features) if end == "attn1.to_q" else (5, down.in_channels, 4, 4)
        x = torch.randn(shape)
        whole, torch_seed = down.eval()(x), torch.manual_seed(0)
        assert torch_seed is not None
        found = down.train()(x)
        ranks = found.movedim(1, -1) if end == "conv1" else found
        expected = whole.movedim(1, -1) if end == "conv1" else whole
        for picture, one in zip(ranks, expected, strict=True):
            flat, other = picture.flatten(0, -2), one.flatten(0, -2)
            left = flat.any(0)
            torch.testing.assert_close(flat[:, left], 2 * other[:, left])
        assert 0 < (ranks == 0).float().mean() < 1


@pytest.mark.parametrize("name", ["lora", "rslora", "loha", "lokr", "lokr both", "lokr full"])
def test_norms_are_limited_and_smaller_changes_stay(bare, name):
    kind, network = put(bare, settings_of(**KINDS[name]))
    stir(network)
    before = {one: square.detach().sqrt() for one, square in kind.squares(network).items()}
    most = float(torch.stack(list(before.values())).median())
    changes = {one: layer.change_of(bare.get_submodule(one).weight) for one, layer in kind.read_from(network).items()}
    kind.limit(network, most)
    for one, layer in kind.read_from(network).items():
        change = layer.change_of(bare.get_submodule(one).weight)
        expected = changes[one] * min(1.0, most / float(before[one]))
        torch.testing.assert_close(change, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["dora", "loha", "lokr", "lokr both", "lora"])
def test_a_file_of_a_lower_rank_goes_on_as_it_was(bare, name):
    given = {**KINDS[name], "rank_pattern": {}, "alpha_pattern": {}}
    kind, lower = put(bare, settings_of(**{**given, "rank": 1, "alpha": 5.0}))
    wide = settings_of(**{**given, "rank": 2 if name == "lokr" else 1 if name == "lokr both" else 4})
    stir(lower)
    layers, (_, fresh) = kind.read_from(lower), put(bare, wide, seed=3)
    begun = kind.go_on(StartingPoint(layers, set(), "base"), kind.read_from(fresh), wide)
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
        kind.go_on(begun, kind.read_from(network), settings_of(kind="oft", rank=4, alpha=4.0))
    with pytest.raises(UserError, match="is not oft_blocks"):
        kind.write_to(network, kind.read_from(other))
    loha, third = put(bare, settings_of(kind="loha", **PAIR))
    begun = StartingPoint(loha.read_from(third), set(), "base")
    with pytest.raises(UserError, match="its layers are LoHa, no OFT"):
        kind.go_on(begun, kind.read_from(network), settings_of(kind="oft", rank=4, alpha=4.0))


@pytest.mark.parametrize(
    ("side", "factor", "expected"),
    # What LyCORIS' function gives; of 360 by 16 its table has another pair.
    [
        (127, 2, (1, 127)),
        (128, -1, (8, 16)),
        (128, 4, (4, 32)),
        (250, -1, (10, 25)),
        (250, 4, (2, 125)),
        (250, 8, (5, 50)),
        (360, 16, (15, 24)),
        (512, 16, (16, 32)),
        (1024, -1, (32, 32)),
        (32, 16, (2, 16)),
    ],
)
def test_sides_are_split_as_lycoris_splits_them(side, factor, expected):
    assert split(side, factor) == expected


def test_blocks_that_outputs_do_not_have_are_refused(bare):
    with pytest.raises(UserError, match="power of two of even blocks of up to 1") as caught:
        put(bare, settings_of(kind="boft", rank=1, alpha=1.0))
    assert caught.value.fix == "set train.adapter.rank=2 or more"


def test_ranks_and_alphas_are_those_of_the_longest_pattern(bare):
    given = {
        "rank_pattern": {"*.conv1": 2, "attn1.to_q": 3, "down_blocks.*.attn1.to_q": 1},
        "alpha_pattern": {"to_q": 9.0},
    }
    kind, network = put(bare, settings_of(kind="lora", **PAIR, **given))
    for name, layer in kind.read_from(network).items():
        rank = 2 if name.endswith("conv1") else 4
        if name.endswith("to_q"):
            rank = 1 if name.startswith("down_blocks") else 3
        assert (layer.rank, layer.alpha) == (rank, 9.0 if name.endswith("to_q") else 2.0), name
    rs, other = put(bare, settings_of(kind="rslora", **PAIR, **given))
    for name, layer in rs.read_from(other).items():
        assert layer.scale == pytest.approx((9.0 if name.endswith("to_q") else 2.0) / math.sqrt(layer.rank))
    with pytest.raises(UserError, match="no adapted module's name ends in 'to_qq'") as caught:
        check_patterns(settings_of(kind="lora", **PAIR, rank_pattern={"to_qq": 2}), names_in(bare))
    assert "to_q" in caught.value.fix


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "loha", "dropout": 0.1}, "dropout 0.1 means nothing for loha"),
        ({"kind": "oft", "alpha": 2.0}, "alpha 2 means nothing for oft: leave it at rank"),
        ({"kind": "lokr", "factor": 0}, "factor 0 divides nothing"),
        ({"kind": "lokr", "full_matrix": True, "decompose_both": True}, "set one of them"),
        ({"kind": "lora", "init": "pissa", "init_from": "x"}, "set init to kaiming"),
        ({"kind": "lora", "init": "olora", "max_norm": 1.0}, "trains those of the weight itself"),
        ({"kind": "dora", "init": "pissa"}, "'kaiming' or 'gaussian'"),
        ({"kind": "ia3", "rank_pattern": {"x": 1}}, "unknown setting"),
    ],
)
def test_what_means_nothing_is_refused(given, said):
    with pytest.raises(ConfigError, match=said):
        check(ADAPTERS.settings(given["kind"]), {"rank": 4, "alpha": 4.0, **given}, "train.adapter")


def test_a_layer_is_its_kinds_and_no_relative_one_has_a_lora(bare):
    for name in ("dora", "loha", "lokr", "oft", "boft", "ia3"):
        kind, network = put(bare, settings_of(**KINDS[name]))
        for layer in kind.read_from(network).values():
            assert isinstance(layer, FormulaLayer) and layer.kind == kind.TITLE
            assert (layer.low_rank() is None) == kind.RELATIVE and layer.parameters > 0
