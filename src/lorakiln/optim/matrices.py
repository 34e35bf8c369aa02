"""Adapter tensors as matrices, for optimizers that look at rows and columns."""

from torch import Tensor


def as_matrix(tensor: Tensor) -> Tensor:
    """A view of two dimensions: a convolution's (out, in, kh, kw) is (out, in kh kw), as it works on patches.

    Without it, means over the last two dimensions would be over 3 x 3 weights, and keep two thirds of them.
    """
    return tensor.reshape(len(tensor), -1)
