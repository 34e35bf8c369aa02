"""What CUDA refuses and takes of tensors that are not all on the device, asked of the stand-in without a GPU."""

import pytest
import torch
import torch.nn.functional as F

from tests.strict_device import StrictDevice


def there(*shape, dtype=torch.float32):
    return torch.zeros(*shape, device="meta", dtype=dtype)


def here(*shape, dtype=torch.float32):
    return torch.zeros(*shape, dtype=dtype)


REFUSED = {
    "product": lambda: there(2, 3) @ here(3, 2),
    "linear": lambda: F.linear(here(2, 3), there(4, 3)),
    "bias": lambda: F.linear(there(2, 3), there(4, 3), here(4)),
    "convolution": lambda: F.conv2d(here(1, 3, 8, 8), there(4, 3, 3, 3)),
    "embedding": lambda: F.embedding(here(2, 3, dtype=torch.long), there(5, 4)),
    "norm": lambda: F.group_norm(there(1, 4, 3, 3), 2, here(4), here(4)),
    "attention": lambda: F.scaled_dot_product_attention(there(1, 2, 3, 4), *[here(1, 2, 3, 4)] * 2),
    "sum": lambda: there(2) + here(2),
    "in place": lambda: there(2).add_(here(2)),
    "cat": lambda: torch.cat([there(2), here(2)]),
    "stack of numbers": lambda: torch.stack([there(()), here(())]),
    "where": lambda: torch.where(here(2) > 0, there(2), there(2)),
    "indices there, values here": lambda: here(5)[there(2, dtype=torch.long)],
    "gather": lambda: there(5).gather(0, here(2, dtype=torch.long)),
    "a number there beside tensors here": lambda: here(2) * there(()),
    "loss": lambda: F.mse_loss(there(2), here(2)),
    "a download that nothing waits for": lambda: there(2).to("cpu", non_blocking=True),
    "a download in place that nothing waits for": lambda: here(2).copy_(there(2), non_blocking=True),
    "pinned memory there": lambda: there(2).pin_memory(),
    "a generator here": lambda: torch.randn(2, device="meta", generator=torch.Generator()),
}
TAKEN = {
    "all there": lambda: there(2, 3) @ there(3, 2),
    "a copy": lambda: there(2).copy_(here(2)),
    "an upload": lambda: here(2).to("meta"),
    "a number here beside tensors there": lambda: there(2) * here(()),
    "indices here, values there": lambda: there(5)[here(2, dtype=torch.long)],
    "all here": lambda: here(2) + here(2),
}


WAITED_FOR = {
    "an upload": lambda: here(2).to("meta"),
    "an upload in place": lambda: there(2).copy_(here(2)),
    "an upload from pinned memory": lambda: here(2).pin_memory().to("meta"),
    "an upload from pageable memory": lambda: here(2).to("meta", non_blocking=True),
    "an upload from pageable memory in place": lambda: there(2).copy_(here(2), non_blocking=True),
    "an upload of a copy of what is pinned": lambda: here(2).pin_memory().clone().to("meta", non_blocking=True),
    "a download": lambda: there(2).to("cpu"),
    "a download by name": lambda: there(2).cpu(),
    "a number read": lambda: there(()).item(),
    "a number read by torch": lambda: torch.full((2,), there(()), device="meta"),
    "a number read by torch in inference": torch.inference_mode()(lambda: torch.full((2,), there(()), device="meta")),
    "a truth": lambda: bool(there(()) > 0),
    "a list": lambda: there(2).tolist(),
    "indices here, values there": lambda: there(5)[here(2, dtype=torch.long)],
}
NOT_WAITED_FOR = {
    "an upload": lambda: here(2).pin_memory().to("meta", non_blocking=True),
    "an upload of a part": lambda: here(4).pin_memory()[1:3].to("meta", non_blocking=True),
    "an upload in place": lambda: there(2).copy_(here(2).pin_memory(), non_blocking=True),
    "a copy there": lambda: there(2).to(torch.float16),
    "a copy here": lambda: here(2).copy_(here(2)).cpu(),
    "a number of ours": lambda: there(2) * 3.0 + torch.full((), 2.0, device="meta"),
    "indices there": lambda: there(5)[there(2, dtype=torch.long)],
}


@pytest.mark.parametrize("work", REFUSED.values(), ids=REFUSED)
def test_what_a_gpu_refuses_is_refused(work):
    with StrictDevice(), pytest.raises(RuntimeError, match="device"):
        work()


@pytest.mark.parametrize("work", TAKEN.values(), ids=TAKEN)
def test_what_a_gpu_takes_is_taken(work):
    with StrictDevice():
        work()


@pytest.mark.parametrize("work", WAITED_FOR.values(), ids=WAITED_FOR)
def test_what_the_host_waits_for_is_noted(work):
    with StrictDevice() as device, device.reading_zeros():
        work()
    assert len(device.waits) == 1


@pytest.mark.parametrize("work", NOT_WAITED_FOR.values(), ids=NOT_WAITED_FOR)
def test_what_it_does_not_wait_for_is_not_noted(work):
    with StrictDevice() as device, device.reading_zeros():
        work()
    assert not device.waits


def test_a_download_that_nothing_waits_for_is_refused_where_zeros_are_read():
    with StrictDevice() as device, device.reading_zeros(), pytest.raises(RuntimeError, match="device"):
        there(2).to("cpu", non_blocking=True)


def test_memory_is_pinned_as_torch_does_it_afterwards():
    before = torch.Tensor.pin_memory
    with StrictDevice():
        assert torch.equal(torch.ones(2).pin_memory(), torch.ones(2))
    assert torch.Tensor.pin_memory is before
