"""Second moments of a matrix by its rows and columns, as Adafactor keeps them (arXiv 1804.04235, section 3)."""

import math

import torch
from torch import Tensor

State = dict[str, Tensor]


def root_mean_square(tensor: Tensor) -> Tensor:
    """0-dimensional; the host does not wait for it."""
    norm: Tensor = torch.linalg.vector_norm(tensor)
    return norm / math.sqrt(tensor.numel())


def begin_moment(state: State, name: str, like: Tensor) -> None:
    """Zeros for the mean of something of this shape: of a matrix (m, n) its rows (m,) and columns (n,), else all."""
    if like.dim() == 2:
        state[f"{name}_row"], state[f"{name}_col"] = like.new_zeros(like.shape[0]), like.new_zeros(like.shape[1])
    else:
        state[name] = torch.zeros_like(like)


def update_moment(state: State, name: str, value: Tensor, beta: float) -> Tensor:
    """Take `value` into the mean, with the weight 1 - beta; what 1 / sqrt(mean) is by now, of the shape of `value`.

    Of a matrix the mean is taken as rows x columns / their mean, which is exact where it has rank 1.
    """
    if value.dim() != 2:
        mean = state[name].mul_(beta).add_(value, alpha=1 - beta)
        return mean.rsqrt()
    rows = state[f"{name}_row"].mul_(beta).add_(value.mean(1), alpha=1 - beta)
    columns = state[f"{name}_col"].mul_(beta).add_(value.mean(0), alpha=1 - beta)
    return torch.outer((rows / rows.mean()).rsqrt(), columns.rsqrt())
