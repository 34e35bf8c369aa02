"""The low-rank algebra of resizing, merging and extracting: all of it exact until a rank is asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lorakiln.adapters.adapter import Layer

Method = Literal["rank", "sv_ratio", "sv_fro", "sv_cumulative"]


@dataclass(frozen=True)
class Cut:
    """How many singular values to keep.

    Attributes:
        rank: at most so many.
        method: rank: all `rank` of them; else as sd-scripts' resize_lora.py, with `value`:
            sv_ratio: those above the largest / value (value > 1);
            sv_fro: as few as keep the share `value` of the Frobenius norm;
            sv_cumulative: as few as keep the share `value` of the singular values' sum.
    """

    rank: int
    method: Method = "rank"
    value: float = 0.0

    def keep(self, singular: Tensor) -> int:
        """How many of these (sorted, largest first), at least 1."""
        wanted = self.rank
        if self.method == "sv_ratio":
            wanted = int((singular > singular[0] / self.value).sum())
        elif self.method == "sv_cumulative":
            wanted = _first(singular.cumsum(0), self.value * float(singular.sum()))
        elif self.method == "sv_fro":
            energy = singular.square()
            wanted = _first(energy.cumsum(0), self.value**2 * float(energy.sum()))
        return max(1, min(wanted, self.rank, len(singular)))


def _first(sums: Tensor, target: float) -> int:
    """How many terms until the growing sum reaches `target`."""
    return int((sums < target).sum()) + 1


# From this rank on, a change of full rank goes by way of its Gram matrix, five times as fast as a decomposition.
LARGE = 256


def compute_singular(layer: Layer) -> tuple[Tensor, Tensor, Tensor]:
    """U (out, r), S (r,), V (r, in...flat) of the layer's delta W, float64, without forming delta W if its rank is low.

    Of a large layer of full rank, values below 1e-7 of the largest are not exact.
    """
    if layer.rank >= max(LARGE, min(layer.up.shape[0], layer.down[0].numel())):
        return _by_gram(layer.scale * layer.up.double().flatten(1) @ layer.down.double().flatten(1))
    q_up, r_up = torch.linalg.qr(layer.up.double().flatten(1))
    q_down, r_down = torch.linalg.qr(layer.down.double().flatten(1).T)
    u, s, v = torch.linalg.svd(layer.scale * r_up @ r_down.T, full_matrices=False)
    return q_up @ u, s, v @ q_down.T


def _by_gram(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """U, S, V of a matrix, from the eigenvectors of weight weight^T, or of its transpose if that is smaller."""
    if weight.shape[0] > weight.shape[1]:
        v, s, u = _by_gram(weight.T)
        return u.T, s, v.T
    _, u = torch.linalg.eigh(weight @ weight.T)
    u = u.flip(1)
    v = u.T @ weight
    s = v.norm(dim=1)
    return u, s, v / s.clamp(min=torch.finfo(s.dtype).tiny)[:, None]


def rebuild_layer(u: Tensor, s: Tensor, v: Tensor, like: Layer, rank: int) -> Layer:
    """A layer of the first `rank` singular triples, balanced between down and up, alpha = rank."""
    root = s[:rank].sqrt()
    up = (u[:, :rank] * root).float()
    down = (root[:, None] * v[:rank]).float()
    up_shape = (*up.shape, *[1] * (like.up.ndim - 2))
    return Layer(down.reshape(rank, *like.down.shape[1:]).contiguous(), up.reshape(up_shape).contiguous(), float(rank))


def cut_layer(layer: Layer, how: Cut) -> tuple[Layer, float]:
    """The best layer of a lower rank, and the share of delta W's Frobenius norm that it keeps (0 to 1)."""
    u, s, v = compute_singular(layer)
    rank = how.keep(s)
    kept, whole = s[:rank].square().sum(), s.square().sum()
    return rebuild_layer(u, s, v, layer, rank), float((kept / whole).sqrt()) if whole else 1.0


def stack_layers(parts: Sequence[tuple[Layer, float]]) -> Layer:
    """One layer that does what all of them do together, each at its weight: their ranks add up, nothing is lost.

    Raises:
        ValueError: they are for weights of different shapes.
    """
    if len({(layer.up.shape[0], *layer.down.shape[1:]) for layer, _ in parts}) > 1:
        raise ValueError("layers of different shapes")
    down = torch.cat([layer.down.float() for layer, _ in parts])
    up = torch.cat([layer.up.float() * (weight * layer.scale) for layer, weight in parts], dim=1)
    return Layer(down, up, float(down.shape[0]))


def approximate_layer(delta: Tensor, how: Cut) -> Layer:
    """The best low-rank layer for a weight's difference, (out, in) or (out, in, k, k), by a truncated SVD."""
    flat = delta.double().flatten(1)
    u, s, v = torch.linalg.svd(flat, full_matrices=False)
    down = torch.empty(1, *delta.shape[1:])
    like = Layer(down, torch.empty(delta.shape[0], 1, *[1] * (delta.ndim - 2)), 1.0)
    return rebuild_layer(u, s, v, like, how.keep(s) if float(s[0]) else 1)
