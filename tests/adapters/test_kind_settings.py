"""What the settings of a kind ask for: dropouts, limits, ranks and alphas of single modules."""

import math

import pytest
import torch

from lorakiln.adapters.formula import CHILD
from lorakiln.adapters.targets import check_patterns
from lorakiln.console.errors import ConfigError, UserError
from lorakiln.schema.adapters import ADAPTERS
from lorakiln.schema.base import check
from tests.adapters.networks import KINDS, PAIR, names_in, put, settings_of, stir


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
    before = {one: square.detach().sqrt() for one, square in kind.compute_squared_norms(network).items()}
    most = float(torch.stack(list(before.values())).median())
    changes = {one: layer.change_of(bare.get_submodule(one).weight) for one, layer in kind.read_from(network).items()}
    kind.clip_norms(network, most)
    for one, layer in kind.read_from(network).items():
        change = layer.change_of(bare.get_submodule(one).weight)
        expected = changes[one] * min(1.0, most / float(before[one]))
        torch.testing.assert_close(change, expected, rtol=1e-4, atol=1e-6)


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
