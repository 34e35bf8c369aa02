import pytest
import torch

from lorakiln.families.protocol import choose_drawing_dtype

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("device", "wanted", "dtype"),
    [
        (GPU, "auto", torch.float16),
        (CPU, "auto", torch.float32),
        (GPU, "fp32", torch.float32),
        (GPU, "bf16", torch.bfloat16),
        (CPU, "fp16", torch.float16),
    ],
)
def test_what_a_model_draws_in(device, wanted, dtype):
    assert choose_drawing_dtype(device, wanted) == dtype
