"""What a file holds of an adapter: its precision, and its scale where every reader finds it."""

import math

import pytest
import torch

from lorakiln.adapters.adapter import Adapter, Layer
from lorakiln.adapters.low_rank import compute_norms
from lorakiln.artefacts.tensor_files import load_tensors, save_tensors
from lorakiln.cli import main
from lorakiln.console.errors import UserError
from lorakiln.lora_files.casting import cast_adapter
from lorakiln.lora_files.reading import read_lora
from lorakiln.lora_files.writing import write_lora
from tests.lora_files.conftest import ALPHAS, RANKS, predict, predict_merged, random_adapter

NAME = "pytorch_lora_weights.safetensors"
QUERY, KEY = (f"unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_{one}" for one in "qk")


def layer(down=1.0, up=1.0, alpha=2.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(3)
    factors = torch.randn(4, 16, generator=generator) * down, torch.randn(12, 4, generator=generator) * up
    return Layer(*(factor.to(dtype) for factor in factors), alpha)


def test_what_fits_is_rounded_and_nothing_else():
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        found = cast_adapter(Adapter({QUERY: layer()}), dtype, "x")
        assert torch.equal(found.adapter.layers[QUERY].down, layer().down.to(dtype))
        assert torch.equal(found.adapter.layers[QUERY].up, layer().up.to(dtype))
        assert (found.adapter.layers[QUERY].alpha, found.lost) == (2.0, {})
    zero = Layer(torch.ones(2, 2), torch.zeros(2, 2), 2.0)
    assert not cast_adapter(Adapter({QUERY: zero}), torch.float16, "x").adapter.layers[QUERY].up.any()
    # A few numbers that are flushed do not count beside large ones in the same factor.
    mixed = Layer(torch.tensor([[1.0, 1e-9]]), torch.ones(2, 1), 1.0)
    assert cast_adapter(Adapter({QUERY: mixed}), torch.float16, "x").adapter.layers[QUERY].down.tolist() == [[1.0, 0.0]]


@pytest.mark.parametrize(("down", "up"), [(1.0, 1e-8), (1e-9, 10.0), (1e7, 1e-3), (0.01, 1e6)])
def test_a_power_of_two_goes_from_one_factor_to_the_other(down, up):
    given = layer(down, up)
    found = cast_adapter(Adapter({QUERY: given}), torch.float16, "x")
    half = found.adapter.layers[QUERY]
    assert half.dtype == torch.float16 and half.alpha == given.alpha and found.lost == {}
    assert 0.25 < float(half.down.abs().max() / half.up.abs().max()) < 4
    ratio = float(half.down.abs().max()) / float(given.down.abs().max())
    assert abs(math.log2(ratio) - round(math.log2(ratio))) < 1e-3
    assert (half.delta() - given.delta()).norm() < 1e-3 * given.delta().norm()


def test_a_layer_that_is_nothing_beside_the_others_is_told_and_one_that_counts_is_refused():
    small = layer(1e-6, 1e-8)
    found = cast_adapter(Adapter({QUERY: small, KEY: layer()}), torch.float16, "x")
    assert set(found.lost) == {QUERY} and 0.004 < found.lost[QUERY] <= 1
    assert str(found).startswith("1 layer is nearly zero beside the others; the precision loses up to ")
    for others in ({}, {KEY: layer(1e-6, 1e-7)}):
        with pytest.raises(UserError, match=f"x: {QUERY}: weights are too small for float16"):
            cast_adapter(Adapter({QUERY: small, **others}), torch.float16, "x")
    with pytest.raises(UserError, match="a weight is too large for float16"):
        cast_adapter(Adapter({QUERY: layer(1e9, 1e3), KEY: layer()}), torch.float16, "x")
    tiny = Layer(torch.full((2, 2), 1e-300, dtype=torch.float64), torch.ones(2, 2), 2.0)
    with pytest.raises(UserError, match="too small for float32, 100%"):
        cast_adapter(Adapter({QUERY: tiny}), torch.float32, "x")


def test_norms_are_those_of_the_changes():
    wide = Layer(torch.randn(3, 4, 3, 3), torch.randn(5, 3, 1, 1), 1.5)
    given = {QUERY: layer(), KEY: wide}
    for name, norm in compute_norms(given).items():
        assert norm == pytest.approx(float(given[name].delta().norm()), rel=1e-5)
    tiny = Layer(layer().down.double() * 1e-200, layer().up.double() * 1e-100, 4.0)
    assert compute_norms({QUERY: tiny})[QUERY] == pytest.approx(
        1e-300 * compute_norms({QUERY: layer(alpha=4.0)})[QUERY]
    )


def test_folded_every_layer_has_one_rank_in_its_part_and_the_same_change():
    text = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
    two = Layer(torch.randn(2, 16), torch.randn(12, 2), 5.0)
    given = {QUERY: layer(alpha=3.0), KEY: two, text: two}
    found = cast_adapter(Adapter(given), None, "x", fold=True).adapter.layers
    assert {name: (one.rank, one.alpha) for name, one in found.items()} == {
        QUERY: (4, 4.0),
        KEY: (4, 4.0),
        text: (2, 2.0),
    }
    for name, one in given.items():
        torch.testing.assert_close(found[name].delta(), one.delta())
    # In the type that it had.
    for dtype in (torch.float16, torch.bfloat16):
        half = cast_adapter(Adapter({QUERY: layer(alpha=3.0, dtype=dtype)}), None, "x", fold=True).adapter.layers[QUERY]
        assert (half.down.dtype, half.up.dtype) == (dtype, dtype)


@pytest.mark.parametrize("told", [True, False])
def test_a_folded_file_acts_alike_in_diffusers_with_its_metadata_and_without(tmp_path, family, told):
    adapter = random_adapter(family, RANKS, ALPHAS)
    expected, base = predict_merged(family, adapter), predict(family.network)
    write_lora(adapter, tmp_path / NAME, "diffusers")
    if not told:
        save_tensors(tmp_path / NAME, load_tensors(tmp_path / NAME)[0])
    pipe = family.pipeline()
    pipe.load_lora_weights(tmp_path, weight_name=NAME)
    torch.testing.assert_close(predict(pipe.unet), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, base, atol=1e-2)


def test_convert_says_that_it_fills_ranks_up(tmp_path, capsys):
    write_lora(
        Adapter({QUERY: layer(), KEY: Layer(torch.ones(2, 16), torch.ones(12, 2), 2.0)}),
        tmp_path / "x.safetensors",
        "kohya",
    )
    arguments = ["convert", str(tmp_path / "x.safetensors"), str(tmp_path / "y.safetensors"), "--to", "diffusers"]
    assert main(arguments) == 0
    assert "ranks differ, and are filled up with zeros (to 4 at most)" in capsys.readouterr().out
    assert {one.rank for one in read_lora(tmp_path / "y.safetensors").adapter.layers.values()} == {4}
