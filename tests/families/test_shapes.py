"""Which shapes of weights hold the same numbers."""

import pytest
from torch import nn

from lorakiln.families.shapes import compute_matrix_shape, has_kernel, is_same_matrix


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ((6, 5), (6, 5), True),
        ((6, 5), (6, 5, 1, 1), True),
        ((6, 45), (6, 5, 3, 3), True),
        ((6, 5), (5, 6, 1, 1), False),
        ((6, 5), (6, 5, 3, 3), False),
        ((1, 4), (4, 1), False),
        ((4,), (4, 1), True),
        ((), (1,), True),
    ],
)
def test_same_matrix(one, other, same):
    assert is_same_matrix(one, other) is is_same_matrix(other, one) is same


def test_a_kernel_is_larger_than_one_pixel():
    assert [has_kernel(shape) for shape in ((6, 5), (6, 5, 1, 1), (6, 5, 3, 3), (6, 5, 1, 3))] == [
        False,
        False,
        True,
        True,
    ]
    assert compute_matrix_shape(nn.Conv2d(5, 6, 3).weight.shape) == (6, 45)
