"""A low-rank layer's numbers: its norm, its factors in another dtype, and with the scale folded in."""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch

from lorakiln.adapters.adapter import Layer
from lorakiln.adapters.checks import TOLERANCE, is_whole, scale_to_one


def compute_norms(layers: Mapping[str, Layer]) -> dict[str, float]:
    """||dW||, Frobenius, of every layer, by way of two matrices as small as its rank."""
    found = {}
    for name, layer in layers.items():
        up, u = scale_to_one(layer.up.double().flatten(1))
        down, d = scale_to_one(layer.down.double().flatten(1))
        product = float(((up.T @ up) * (down @ down.T)).sum())
        found[name] = abs(layer.scale) * u * d * math.sqrt(max(0.0, product))
    return found


def cast(layer: Layer, dtype: torch.dtype, where: str = "") -> tuple[Layer, float]:
    """A layer with its factors in `dtype`, and the share of its change that is lost, if it is more than rounding.

    Where factors are too small or too large for it, a power of two is moved from one factor to the other, which changes
    no bit of their product.
    """
    small = replace(layer, down=layer.down.to(dtype), up=layer.up.to(dtype))
    if is_whole(small.down, layer.down) and is_whole(small.up, layer.up):
        return small, 0.0
    even = _balanced(layer)
    small = replace(even, down=even.down.to(dtype), up=even.up.to(dtype))
    share = _lost(layer, small)
    return small, 0.0 if share <= TOLERANCE.get(dtype, 0.0) else share


def fold(layer: Layer, rank: int, dtype: torch.dtype | None, where: str) -> tuple[Layer, float]:
    """A layer with alpha = rank, filled up with zeros; and what `cast` tells.

    Args:
        dtype: None: of the given factors. What is computed is float64.
    """
    down, up = layer.down, layer.up
    kept = torch.promote_types(down.dtype, up.dtype)
    if layer.scale != 1:
        up = up.double() * layer.scale
    if missing := rank - layer.rank:
        down = torch.cat([down, down.new_zeros(missing, *down.shape[1:])])
        up = torch.cat([up, up.new_zeros(up.shape[0], missing, *up.shape[2:])], 1)
    return cast(Layer(down, up, float(rank)), dtype or kept, where)


def _balanced(layer: Layer) -> Layer:
    """The same product of factors whose largest numbers are alike, by a power of two."""
    down, up = (float(factor.double().abs().max()) for factor in (layer.down, layer.up))
    if not (down and up):
        return layer
    shift = round((math.log2(up) - math.log2(down)) / 2)
    return replace(layer, down=layer.down.double() * 2.0**shift, up=layer.up.double() * 2.0**-shift)


def _lost(layer: Layer, cast: Layer) -> float:
    """||dW' - dW|| / ||dW||; NaN or infinite where a number was too large."""
    rank = layer.rank
    up = torch.cat([cast.up.double().flatten(1), -layer.up.double().flatten(1)], 1)
    down = torch.cat([cast.down.double().flatten(1), layer.down.double().flatten(1)])
    if not (torch.isfinite(up).all() and torch.isfinite(down).all()):
        return math.inf
    difference = Layer(down, up, 2.0 * rank)
    pair = compute_norms({"difference": difference, "whole": replace(layer, alpha=float(rank))})
    return pair["difference"] / pair["whole"] if pair["whole"] else 0.0
