"""Muon (https://kellerjordan.github.io/posts/muon/) for matrices, AdamW for the rest, as torch.optim has both.

A matrix moves along its momentum with all singular values made about 1: w = w - lr' U V^T. A convolution's weights are
the matrix (out, in kh kw). A vector, such as DoRA's magnitudes, has no such directions and moves by AdamW. With
adjust_lr_fn=match_rms_adamw both move by about the same at one rate.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lorakiln.optim.kohya_names import format_class
from lorakiln.optim.matrices import as_matrix
from lorakiln.schema.optimizers.muon import MuonSettings

ELEMENTWISE = False
MASKED = False

# The polynomial a x + b x^3 + c x^5 of the post, which takes (0, 1] to about 1 when it is applied some times over.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """Keeps one moment of a matrix, two of a vector."""

    def __init__(self, groups: Sequence[dict[str, Any]], settings: MuonSettings) -> None:
        self.settings = settings
        super().__init__(groups, {"lr": settings.lr, "step": 0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override] # nothing here is evaluated anew
        for group in self.param_groups:
            group["step"] += 1
            for weights in group["params"]:
                weights.mul_(1 - group["lr"] * self.settings.weight_decay)
                if weights.dim() > 1:
                    self._turn(weights, group["lr"])
                else:
                    self._move(weights, group["lr"], group["step"])

    def _turn(self, weights: Tensor, lr: float) -> None:
        settings, state, gradient = self.settings, self.state[weights], weights.grad
        assert gradient is not None  # `FlatWeights` has given it one
        if not state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        moment = state["momentum_buffer"].lerp_(gradient, 1 - settings.momentum)
        update = gradient.lerp(moment, settings.momentum) if settings.nesterov else moment
        matrix = orthogonalize(as_matrix(update), settings.ns_steps)
        rows, columns = matrix.shape
        if settings.adjust_lr_fn == "original":
            lr *= math.sqrt(max(1.0, rows / columns))
        else:
            lr *= 0.2 * math.sqrt(max(rows, columns))
        weights.add_(matrix.view_as(weights), alpha=-lr)

    def _move(self, weights: Tensor, lr: float, step: int) -> None:
        state, gradient, (beta1, beta2) = self.state[weights], weights.grad, self.settings.betas
        assert gradient is not None  # `FlatWeights` has given it one
        if not state:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weights), torch.zeros_like(weights)
        moment = state["exp_avg"].lerp_(gradient, 1 - beta1)
        second = state["exp_avg_sq"].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        scale = (second.sqrt() / math.sqrt(1 - beta2**step)).add_(self.settings.eps)
        weights.addcdiv_(moment, scale, value=-lr / (1 - beta1**step))


def orthogonalize(matrix: Tensor, steps: int) -> Tensor:
    """U V^T of the singular value decomposition U S V^T, about: singular values come out between 0.7 and 1.2.

    Args:
        matrix: (m, n), float32; computed in bfloat16, as torch.optim.Muon does it.
        steps: of Newton and Schulz's iteration.
    """
    a, b, c = COEFFICIENTS
    x = matrix.bfloat16()
    wide = x.T if len(x) > x.shape[1] else x
    # The largest singular value is at most the norm.
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(steps):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return (wide.T if len(x) > x.shape[1] else wide).to(matrix.dtype)


def build(groups: Sequence[dict[str, Any]], settings: MuonSettings) -> Muon:
    """See `OptimizerKind`."""
    return Muon(groups, settings)


def kohya_name(settings: MuonSettings) -> str:
    """See `OptimizerKind`: of torch's class what moves matrices."""
    return format_class("torch.optim._muon.Muon", settings, betas=None, eps=None)
