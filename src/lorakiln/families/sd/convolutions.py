"""Frozen convolutions as products of matrices, where that is less work than torch's own.

In channels_last a pixel's channels stand side by side, and so do the weights of an output's channel. A 1x1 convolution
is a linear layer's product. For a 3x3 one torch (oneDNN) brings the weights into another order in every call, which
takes as long as the sums where a batch has few pixels. There, with S a picture's (9 h w, h w) of zeros and ones that
says which pixels stand around each, and W the weight as it lies, (O, 9 C),

    y = (S x) W^T + b,      the gradient of x is S^T (g W)

with other last bits than torch's, 1e-7 of the output's size.
"""

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

FEW = 64  # pixels of a batch, up to which the products are faster; with 256 they are slower


def choose_format(states: Tensor) -> torch.memory_format:
    """That of (B, C, h, w) states."""
    last = states.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def is_plain(module: nn.Module) -> bool:
    """Whether a call of a layer is its class's own: no adapter's hook, and no other method in its place."""
    return not (module._forward_hooks or module._forward_pre_hooks or "forward" in module.__dict__)


def is_single(conv: nn.Conv2d, states: Tensor) -> bool:
    """Whether a frozen layer computes in single precision, which leaves room for other sums."""
    return (
        not conv.weight.requires_grad
        and states.dtype == conv.weight.dtype == torch.float32
        and not torch.is_autocast_enabled(states.device.type)
    )


def project(conv: nn.Module, states: Tensor) -> Tensor:
    """What a 1x1 convolution makes of (B, C, h, w) states: in channels_last one product of all pixels' rows."""
    alone = type(conv) is nn.Conv2d and is_plain(conv) and conv.kernel_size == conv.stride == (1, 1)
    if not alone or conv.padding != (0, 0) or conv.groups != 1 or choose_format(states) != torch.channels_last:
        found: Tensor = conv(states)
        return found
    own: Any = conv
    return F.linear(states.permute(0, 2, 3, 1), own.weight.flatten(1), own.bias).permute(0, 3, 1, 2)


def convolve(conv: nn.Module, states: Tensor) -> Tensor:
    """What a convolution makes of (B, C, h, w) states: by products, if it is a frozen 3x3 one of few pixels."""
    batch, _, height, width = states.shape
    if batch * height * width > FEW or type(conv) is not nn.Conv2d or not _suits(conv, states):
        found: Tensor = conv(states)
        return found
    product: Tensor = _Convolution.apply(states, conv.weight, conv.bias)
    return product


def _suits(conv: nn.Conv2d, states: Tensor) -> bool:
    return (
        conv.kernel_size == (3, 3)
        and conv.stride == conv.padding == conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.padding_mode == "zeros"
        and states.device.type == "cpu"
        and is_plain(conv)
        and is_single(conv, states)
        and all(choose_format(one) == torch.channels_last for one in (states, conv.weight))
    )


@functools.lru_cache(maxsize=64)
def _find_around(height: int, width: int) -> Tensor:
    """Which pixel is in which place around each, (1, 9 h w, h w): one where it is, zeros where none is."""
    with torch.inference_mode(False):  # what is kept may be asked for by a training later
        pixels = torch.eye(height * width).view(1, -1, height, width)
        around = F.unfold(pixels, 3, padding=1).view(height * width, 9, height * width)
        return around.permute(2, 1, 0).reshape(1, -1, height * width)


class _Convolution(torch.autograd.Function):
    """x (B, C, h, w), W (O, C, 3, 3), b (O,) or None -> y (B, O, h, w), with one pixel of zeros around x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        batch, channels, height, width = ctx.shape = x.shape
        pixels = x.permute(0, 2, 3, 1).view(batch, -1, channels)
        around = torch.bmm(_find_around(height, width).expand(batch, -1, -1), pixels).view(-1, 9 * channels)
        rows = F.linear(around, weight.permute(0, 2, 3, 1).flatten(1), bias)
        return rows.view(batch, height, width, -1).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        batch, channels, height, width = ctx.shape
        rows = gradient.permute(0, 2, 3, 1).reshape(-1, len(weight)) @ weight.permute(0, 2, 3, 1).flatten(1)
        around = _find_around(height, width).mT.expand(batch, -1, -1)
        pixels = torch.bmm(around, rows.view(batch, -1, channels))
        return pixels.view(batch, height, width, channels).permute(0, 3, 1, 2), None, None
