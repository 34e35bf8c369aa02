"""Weights that are not finite are found."""

from pathlib import Path

import pytest
import torch

from lorakiln.console.errors import UserError
from lorakiln.families.weight_checks import check_weights


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_finite_numbers_whose_sum_is_not_are_no_fault(dtype):
    module = torch.nn.Module()
    module.weight = torch.nn.Parameter(torch.full((1000,), torch.finfo(dtype).max, dtype=dtype))
    module.nothing = torch.nn.Parameter(torch.zeros(0, dtype=dtype))
    assert not module.weight.sum().isfinite()
    check_weights(module, Path("x"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_not_finite_is_found_wherever_it_is(dtype, value):
    generator = torch.Generator().manual_seed(0)
    for size in (1, 7, 33, 1000, 70_001):
        module = torch.nn.Module()
        module.weight = torch.nn.Parameter(torch.randn(size, generator=generator).to(dtype))
        check_weights(module, Path("x"))
        for at in (0, size - 1, int(torch.randint(size, (1,), generator=generator))):
            with torch.no_grad():
                kept = module.weight[at].clone()
                module.weight[at] = value
            with pytest.raises(UserError, match="NaN or infinite: weight"):
                check_weights(module, Path("x"))
            with torch.no_grad():
                module.weight[at] = kept
