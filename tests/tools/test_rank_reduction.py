import math

import pytest
import torch

from lorakiln.adapters.adapter import Layer
from lorakiln.tools.rank_reduction import Cut, approximate_layer, compute_singular, cut_layer, stack_layers


def layer(rank=6, alpha=3.0, out=20, into=(16,), seed=0):
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn(rank, *into, generator=generator)
    return Layer(down, torch.randn(out, rank, *[1] * (len(into) - 1), generator=generator), alpha)


@pytest.mark.parametrize("into", [(16,), (5, 3, 3)])
def test_the_singular_values_are_those_of_the_weight_change(into):
    one = layer(into=into)
    u, s, v = compute_singular(one)
    expected = torch.linalg.svdvals(one.delta().double().flatten(1))
    torch.testing.assert_close(s, expected[: len(s)])
    torch.testing.assert_close((u * s) @ v, one.delta().double().flatten(1), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("out", "into"), [(260, (300,)), (300, (260,)), (270, (40, 3, 3))])
def test_large_changes_of_full_rank_have_the_same_singular_values(out, into):
    rank = min(out, math.prod(into))
    one = layer(rank=rank, out=out, into=into)
    delta = one.delta().double().flatten(1)
    u, s, v = compute_singular(one)
    torch.testing.assert_close(s, torch.linalg.svdvals(delta), rtol=1e-4, atol=1e-4 * float(s[0]))
    assert ((u * s) @ v - delta).norm() / delta.norm() < 1e-6
    small, kept = cut_layer(one, Cut(8))
    lost = float((small.delta().double().flatten(1) - delta).norm() / delta.norm())
    assert lost == pytest.approx((1 - kept**2) ** 0.5, rel=1e-4)
    values = torch.linalg.svdvals(delta)
    assert lost == pytest.approx(float(values[8:].norm() / values.norm()), rel=1e-4)


def test_a_large_change_of_nothing_has_no_directions():
    _, s, v = compute_singular(Layer(torch.zeros(260, 260), torch.eye(260), 260.0))
    assert float(s.max()) == 0.0 and bool(torch.isfinite(v).all())


@pytest.mark.parametrize("into", [(16,), (5, 3, 3)])
def test_at_full_rank_a_cut_changes_nothing(into):
    one = layer(into=into)
    same, kept = cut_layer(one, Cut(64))
    assert same.rank == 6 and kept == pytest.approx(1.0)
    torch.testing.assert_close(same.delta(), one.delta(), rtol=1e-4, atol=1e-4)


def test_a_cut_is_the_best_there_is_and_says_what_it_keeps():
    one = layer()
    s = torch.linalg.svdvals(one.delta().double())
    small, kept = cut_layer(one, Cut(2))
    lost = (small.delta() - one.delta()).norm().item()
    # Eckart-Young: the error of the best rank-2 matrix is what the other singular values hold.
    assert lost == pytest.approx(float(s[2:6].square().sum().sqrt()), rel=1e-4)
    assert kept == pytest.approx(float(s[:2].norm() / s.norm()), rel=1e-5)


@pytest.mark.parametrize(
    ("method", "value", "wanted"),
    [
        ("rank", 0.0, 4),
        ("sv_ratio", 3.0, 2),  # above 8 / 3
        ("sv_cumulative", 0.75, 2),  # 8 + 4 of 15 is 0.8
        ("sv_cumulative", 0.81, 3),
        ("sv_fro", 0.88, 2),  # sqrt(64 / 85) = 0.868 with one, sqrt(80 / 85) = 0.970 with two
        ("sv_fro", 0.86, 1),
        ("sv_fro", 1.0, 4),
    ],
)
def test_how_many_singular_values_are_kept(method, value, wanted):
    assert Cut(16, method, value).keep(torch.tensor([8.0, 4.0, 2.0, 1.0]).double()) == wanted


def test_the_rank_is_a_ceiling_and_one_a_floor():
    values = torch.tensor([8.0, 4.0, 2.0, 1.0])
    assert Cut(3, "sv_fro", 1.0).keep(values) == 3
    assert Cut(3, "sv_ratio", 1.5).keep(values) == 1
    assert Cut(8).keep(torch.zeros(4)) == 4


def test_stacked_layers_do_what_all_do_together():
    one, two = layer(6, 3.0), layer(4, 8.0, seed=1)
    both = stack_layers([(one, 0.5), (two, -1.0)])
    assert both.rank == 10
    torch.testing.assert_close(both.delta(), 0.5 * one.delta() - two.delta(), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="shapes"):
        stack_layers([(one, 1.0), (layer(out=21), 1.0)])


@pytest.mark.parametrize("shape", [(12, 10), (6, 4, 3, 3)])
def test_a_difference_of_low_rank_is_found_exactly(shape):
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(shape[0], 3, generator=generator) @ torch.randn(3, math.prod(shape[1:]), generator=generator)
    delta = flat.reshape(shape)
    found = approximate_layer(delta, Cut(3))
    assert found.rank == 3 and found.down.shape[1:] == shape[1:]
    torch.testing.assert_close(found.delta(), delta, rtol=1e-4, atol=1e-4)
