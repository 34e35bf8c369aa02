"""Convolutions as products, against torch's own and in double precision."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lorakiln.families.sd import convolutions
from lorakiln.families.sd.convolutions import FEW, convolve, project

LAST = torch.channels_last
CONVOLUTIONS = ({}, {"bias": False}, {"stride": 2}, {"padding": 1}, {"groups": 2}, {"kernel_size": 3})
# What is no 3x3 convolution with one pixel of zeros around.
OTHERS = (
    {"stride": 2},
    {"padding": 0},
    {"padding": 2, "dilation": 2},
    {"groups": 2},
    {"padding_mode": "circular"},
    {"kernel_size": 5, "padding": 2},
)


@pytest.fixture(autouse=True)
def seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def products(monkeypatch):
    """Grows where a convolution is computed by products."""
    calls = []
    real = convolutions._Convolution.apply
    monkeypatch.setattr(convolutions._Convolution, "apply", lambda *given: calls.append(1) or real(*given))
    return calls


def make_layer(**given):
    conv = nn.Conv2d(6, 4, **{"kernel_size": 3, "padding": 1, **given})
    return conv.to(memory_format=LAST).requires_grad_(False)


def draw_states(*shape):
    return torch.randn(shape).contiguous(memory_format=LAST).requires_grad_()


def differentiate(function, states, given):
    """What a function gives, and the gradient of the states."""
    states = states.detach().clone().requires_grad_()
    found = function(states)
    found.backward(given.to(found.dtype))
    return found.detach(), states.grad


def assert_close_to_double(function, exact, states):
    """Both directions, no further from those in double precision than single precision is; in channels_last."""
    given = torch.randn(exact(states.double()).shape)
    theirs = differentiate(exact, states.double(), given)
    for one, other in zip(differentiate(function, states, given), theirs, strict=True):
        assert (one.double() - other).norm() <= 1e-6 * other.norm() and other.norm() > 1e-2
        assert one.is_contiguous(memory_format=LAST)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(4, 4, 4), (2, 5, 3), (1, 1, 1)])
def test_a_convolution_of_few_pixels_is_made_of_products(products, size, bias):
    conv = make_layer(bias=bias)
    weight, shift = conv.weight.double(), conv.bias.double() if bias else None
    batch, *sides = size
    states = draw_states(batch, 6, *sides)
    assert_close_to_double(lambda x: convolve(conv, x), lambda x: F.conv2d(x, weight, shift, padding=1), states)
    assert products


@pytest.mark.parametrize("given", OTHERS)
def test_other_convolutions_are_torchs_own(products, given):
    conv, states = make_layer(**given), draw_states(2, 6, 5, 5)
    assert torch.equal(convolve(conv, states), conv(states)) and not products


def test_more_pixels_other_formats_precisions_and_trained_weights_are_torchs_own(products):
    conv, states = make_layer(), draw_states(1, 6, 4, 4)
    many = draw_states(1, 6, 1, FEW + 1)
    assert torch.equal(convolve(conv, many), conv(many))
    assert torch.equal(convolve(conv, states.contiguous()), conv(states.contiguous()))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(convolve(conv, states), conv(states))
    assert torch.equal(convolve(conv.double(), states.double()), conv(states.double()))
    conv = make_layer().requires_grad_(True)
    convolve(conv, states).sum().backward()
    assert conv.weight.grad is not None and not products


def test_what_stands_in_a_convolutions_place_is_called(products):
    conv, states = make_layer(), draw_states(1, 6, 4, 4)
    with conv.register_forward_hook(lambda module, inputs, output: 2 * output):
        assert torch.equal(convolve(conv, states), 2 * F.conv2d(states, conv.weight, conv.bias, padding=1))
    wrapped = nn.Sequential(conv, nn.SiLU())
    assert torch.equal(convolve(wrapped, states), wrapped(states)) and not products


@pytest.mark.parametrize("given", CONVOLUTIONS)
@pytest.mark.parametrize("form", [torch.channels_last, torch.contiguous_format])
def test_a_projection_is_the_convolution(given, form):
    conv = nn.Conv2d(6, 4, **{"kernel_size": 1, **given})
    states = torch.randn(2, 6, 4, 4).to(memory_format=form)
    found, calls = project(conv, states), []
    torch.testing.assert_close(found, conv(states))
    assert found.is_contiguous(memory_format=form)
    with conv.register_forward_hook(lambda module, inputs, output: 2 * output):
        torch.testing.assert_close(project(conv, states), 2 * found)
    conv.forward = calls.append
    assert project(conv, states) is None and calls == [states]
