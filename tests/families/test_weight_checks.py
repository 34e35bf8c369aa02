"""Weights that are not finite are found."""

import pytest
import torch

from lorakiln.families.weight_checks import is_finite


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_finite_numbers_whose_sum_is_not_are_no_fault(dtype):
    large = torch.full((1000,), torch.finfo(dtype).max, dtype=dtype)
    assert not large.sum().isfinite()
    assert is_finite(large) and is_finite(torch.zeros(0, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_not_finite_is_found_wherever_it_is(dtype, value):
    generator = torch.Generator().manual_seed(0)
    for size in (1, 7, 33, 1000, 70_001):
        weight = torch.randn(size, generator=generator).to(dtype)
        assert is_finite(weight)
        for at in (0, size - 1, int(torch.randint(size, (1,), generator=generator))):
            kept = weight[at].clone()
            weight[at] = value
            assert not is_finite(weight)
            weight[at] = kept
