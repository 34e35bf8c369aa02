import pytest
import torch

from lorakiln.families.autocast import leave_autocast


@pytest.mark.parametrize("kind", ["cpu", "meta"])
def test_a_product_keeps_its_precision_amid_autocast(kind):
    states = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (states @ states).dtype == torch.bfloat16
        with leave_autocast(kind):
            assert (states @ states).dtype == torch.float32
        assert (states @ states).dtype == torch.bfloat16
