"""The shapes of weights: a linear layer and a 1x1 convolution hold the same numbers, and files have either for both."""

import math
from collections.abc import Sequence


def compute_matrix_shape(shape: Sequence[int]) -> tuple[int, int]:
    """(out, in * kernel * kernel): a weight's rows by output, whatever layer they belong to; (1, 1) of a scalar."""
    return math.prod(shape[:1]), math.prod(shape[1:])


def is_same_matrix(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether weights of both shapes hold the same numbers in the same order: `reshape` makes one of the other."""
    return compute_matrix_shape(one) == compute_matrix_shape(other)


def has_kernel(shape: Sequence[int]) -> bool:
    """Whether it is a convolution's that looks beside its pixel, as linear layers and 1x1 convolutions do not."""
    return math.prod(shape[2:]) > 1
